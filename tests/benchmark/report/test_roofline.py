"""Points are drawn at their rate and intensity, under a roof with its bend at the right place."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from app.benchmark.report.roofline import (
    HEIGHT,
    LINE_HEIGHT,
    WIDTH,
    Point,
    axes_around,
    best_rates,
    labels,
    points,
    si_prefixed,
    svg,
)
from tests.benchmark.sample_results import result, work


def test_every_kernel_that_computes_and_every_step_is_a_point() -> None:
    picture = svg(result())
    assert picture.count("<circle") == 3 and picture.count("<path") == 3
    assert picture.count("<polyline") == 2
    own = "sentiment bf16 eager: 80 GFLOP/s (79.2 GFLOP/s to 80.8 GFLOP/s, n 50) at 4 FLOP/B"
    assert f"{own}; the roof is at 107 GFLOP/s" in picture


def test_the_roof_bends_where_bandwidth_meets_the_peak() -> None:
    sample = result()
    peaks, bandwidth = best_rates(sample), 8e8 / 0.03
    axes = axes_around(points(sample), peaks, bandwidth)
    corners = re.findall(r'class="roof fp32" points="([^"]+)"', svg(sample))[0].split()
    ridge_x, ridge_y = map(float, corners[1].split(","))
    assert ridge_x == pytest.approx(axes.x(peaks["fp32"] / bandwidth), abs=0.1)
    assert ridge_y == pytest.approx(axes.y(peaks["fp32"]), abs=0.1)
    assert corners[2].endswith(corners[1].split(",")[1]), "the roof is flat right of its ridge"


def test_labels_of_points_in_one_place_do_not_overlap() -> None:
    crowd = [Point(f"step {i}", "step", "fp32", 10.0, 1e9 * (1 + i / 100), 1e9, 1e9, 5) for i in range(6)]
    axes = axes_around([replace(crowd[0], rate=1e6, intensity=0.1), *crowd], {"fp32": 1e11}, 1e10)
    places = [
        float(y) for y in re.findall(r'<text class="name" x="[-\d.]+" y="([-\d.]+)"', "".join(labels(axes, crowd)))
    ]
    assert len(places) == 6
    assert min(b - a for a, b in zip(places, places[1:])) >= LINE_HEIGHT - 0.2


def test_every_point_is_inside_the_picture() -> None:
    sample = result()
    far = replace(sample, steps=(replace(sample.steps[0], work=work(seconds=10.0, flops=1e3, moved=1e9)),))
    for x, y in re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', svg(far)):
        assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT
    for x, y in re.findall(r'<path d="M([-\d.]+) ([-\d.]+)', svg(far)):
        assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT


@pytest.mark.parametrize(
    ("value", "text"), [(1.89e11, "189 G"), (1e12, "1 T"), (2.5e9, "2 G"), (1.0, "1 "), (0.1, "0.1 ")]
)
def test_numbers_on_the_axes_have_si_prefixes(value: float, text: str) -> None:
    assert si_prefixed(value) == text
