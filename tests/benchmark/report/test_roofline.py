"""Points stand where their rate and intensity put them, and never above the roof they are measured by."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from app.benchmark.limits import Limits
from app.benchmark.report.roofline import (
    HEIGHT,
    LINE_HEIGHT,
    WIDTH,
    Point,
    best_rates,
    names,
    points,
    prefixed,
    span,
    svg,
)
from tests.benchmark.made import result, work


def test_every_kernel_that_computes_and_every_step_is_a_point() -> None:
    picture = svg(result())
    assert picture.count("<circle") == 3 and picture.count("<path") == 3
    assert picture.count("<polyline") == 2
    own = "sentiment bf16 eager: 80 GFLOP/s (79.2 GFLOP/s to 80.8 GFLOP/s, n 50) at 4 FLOP/B"
    assert f"{own}; the roof is at 107 GFLOP/s" in picture


def test_the_roof_bends_where_bandwidth_meets_the_peak() -> None:
    made = result()
    peaks, bandwidth = best_rates(made), 8e8 / 0.03
    axes = span(points(made), peaks, bandwidth)
    corners = re.findall(r'class="roof fp32" points="([^"]+)"', svg(made))[0].split()
    ridge_x, ridge_y = map(float, corners[1].split(","))
    assert ridge_x == pytest.approx(axes.x(peaks["fp32"] / bandwidth), abs=0.1)
    assert ridge_y == pytest.approx(axes.y(peaks["fp32"]), abs=0.1)
    assert corners[2].endswith(corners[1].split(",")[1]), "flat from the ridge on"


def test_names_of_points_in_one_place_do_not_lie_on_each_other() -> None:
    crowd = [Point(f"step {i}", "step", "fp32", 10.0, 1e9 * (1 + i / 100), 1e9, 1e9, 5) for i in range(6)]
    axes = span([replace(crowd[0], rate=1e6, intensity=0.1), *crowd], {"fp32": 1e11}, 1e10)
    places = [
        float(y) for y in re.findall(r'<text class="name" x="[-\d.]+" y="([-\d.]+)"', "".join(names(axes, crowd)))
    ]
    assert len(places) == 6
    assert min(b - a for a, b in zip(places, places[1:])) >= LINE_HEIGHT - 0.2


def test_everything_lies_inside_the_picture() -> None:
    made = result()
    far = replace(made, steps=(replace(made.steps[0], work=work(seconds=10.0, flops=1e3, moved=1e9)),))
    for x, y in re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', svg(far)):
        assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT
    for x, y in re.findall(r'<path d="M([-\d.]+) ([-\d.]+)', svg(far)):
        assert 0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT


@pytest.mark.parametrize(
    ("value", "text"), [(1.89e11, "189 G"), (1e12, "1 T"), (2.5e9, "2 G"), (1.0, "1 "), (0.1, "0.1 ")]
)
def test_numbers_on_the_axes_have_prefixes(value: float, text: str) -> None:
    assert prefixed(value) == text


def test_the_roofline_limit_is_the_lower_of_both_roofs() -> None:
    limits = Limits(torch.device("cpu"), None, "a CPU", {"fp32": 100e9}, 10e9)
    assert limits.roofline_flops("fp32", flops=1e9, moved=1e9).value == pytest.approx(10.0)
    assert limits.roofline_flops("fp32", flops=1e9, moved=1e6).value == pytest.approx(100.0)
    assert limits.roofline_flops("bf16", flops=1e9, moved=1e6).value is None
    assert limits.memory_time(20e9).value == pytest.approx(2000.0)


def test_a_cpu_has_no_datasheet_limit_and_says_why() -> None:
    limits = Limits.of(torch.device("cpu"))
    for limit in (limits.datasheet_flops("fp32"), limits.datasheet_bandwidth()):
        assert limit.value is None and "CPU" in limit.source
