"""Points are drawn at their rate and intensity, under a roof with its bend at the right place."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from app.benchmark.report.roofline import (
    HEIGHT,
    WIDTH,
    axes_around,
    best_rates,
    points,
    si_prefixed,
    svg,
)
from app.benchmark.results import read
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


def test_names_are_on_no_mark_no_roof_and_no_other_name() -> None:
    """The shipped result: seven steps, five of them in one place. A letter is taken as 6.2 pixels wide, as drawn."""
    shipped = read(Path(__file__).parents[3] / "benchmarks" / "results" / "intel-xeon-2-cores.json")
    picture = svg(shipped)
    names = re.findall(r'<text class="name" x="([-\d.]+)" y="([-\d.]+)">([^<]+)<', picture)
    assert len(names) == len(shipped.diagnoses)
    boxes = [(float(x), float(y) - 10, float(x) + 6.2 * len(text), float(y) + 3) for x, y, text in names]
    marks = [(float(x), float(y), 4.0) for x, y in re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', picture)]
    marks += [(float(x), float(y) + 8, 8.0) for x, y in re.findall(r'<path d="M([-\d.]+) ([-\d.]+)', picture)]
    assert len(marks) == len(points(shipped))
    blocked = [(x - r, y - r, x + r, y + r) for x, y, r in marks]
    for corners in re.findall(r'<polyline class="roof \w+" points="([^"]+)"', picture):
        ends = [tuple(map(float, corner.split(","))) for corner in corners.split()]
        for (x0, y0), (x1, y1) in zip(ends, ends[1:]):
            steps = [(x0 + (x1 - x0) * i / 400, y0 + (y1 - y0) * i / 400) for i in range(401)]
            blocked += [(x, y, x, y) for x, y in steps]
    for number, box in enumerate(boxes):
        assert box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT
        for other in [*blocked, *boxes[:number]]:
            apart = box[2] < other[0] or other[2] < box[0] or box[3] < other[1] or other[3] < box[1]
            assert apart, (names[number], other)


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
