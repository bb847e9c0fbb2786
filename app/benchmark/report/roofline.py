"""The roofline as SVG: the machine's limits as a roof, kernels and training steps as points under it.

Williams, Waterman, Patterson 2009: attainable FLOP/s = min(peak, bandwidth x operations per byte). Both axes are
logarithmic, so the distance to the roof is the missing factor. Drawn here and not with matplotlib, because the page
needs texts on hovering and its own colours for light and dark, and because importing matplotlib takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from app.benchmark.figure import Work
from app.benchmark.results import BenchmarkResult

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 34, 50
LINE_HEIGHT = 15
FLOOR = HEIGHT - BOTTOM
ROOF_NAME = 130  # pixels of `bf16 1.86 TFLOP/s` above the right end of a roof
CHARACTER = 6.7  # pixels of an average letter, rounded up, so that a box holds its text in any usual font
# Where a name may be, nearest first: pixels to the side, pixels down, and to which side.
OFFSETS = [(a, d, s) for a in (18, 36, 60, 90, 130) for d in (0, -16, 16, -32, 32, -56, 56, -84, 84) for s in (1, -1)]
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


@dataclass(frozen=True)
class Point:
    """A kernel or step: its intensity in FLOP/B and its rate in FLOP/s."""

    name: str
    kind: Literal["kernel", "step"]
    """`kernel` or `step`, which decides its shape and its CSS class."""
    precision: str
    intensity: float
    rate: float
    low: float
    """10th percentile of the rate."""
    high: float
    """90th percentile of the rate."""
    n: int
    """Samples of the rate."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the picture, in pixels; y grows downwards."""

    x0: float
    y0: float
    x1: float
    y1: float


Line = tuple[tuple[float, float], tuple[float, float]]  # its left end and its right end, in pixels


@dataclass(frozen=True)
class Axes:
    """The powers of ten at the ends of both axes, and the pixels of a value between them."""

    x0: int
    x1: int
    y0: int
    y1: int

    def x(self, intensity: float) -> float:
        return LEFT + (math.log10(intensity) - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, rate: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(rate) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def points(result: BenchmarkResult) -> list[Point]:
    """Return kernels and steps as points, except for copies and transfers, which compute nothing."""
    kernels = [_point(k.name, "kernel", k.precision, k.work) for k in result.kernels if k.work.flops and k.work.bytes]
    steps = [_point(s.name, "step", s.precision, s.work) for s in result.steps if s.work.flops and s.work.bytes]
    return kernels + steps


def _point(name: str, kind: Literal["kernel", "step"], precision: str, work: Work) -> Point:
    time = work.time
    rate, low, high = (1e3 * work.flops / milliseconds for milliseconds in (time.value, time.high, time.low))
    return Point(name, kind, precision, work.flops / work.bytes, rate, low, high, time.n)


def svg(result: BenchmarkResult) -> str:
    """Return the picture, or a paragraph if no matmul, bandwidth or point was measured."""
    found = points(result)
    peaks = best_rates(result)
    bandwidth = max((k.work.bytes / k.work.seconds for k in result.kernels if k.group == "memory"), default=None)
    if not found or not peaks or bandwidth is None:
        return "<p>No roofline: it needs a matrix product and the memory bandwidth.</p>"
    axes = axes_around(found, peaks, bandwidth)
    about = "Roofline: operations per second over operations per byte"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">']
    parts += grid_lines(axes)
    for precision, peak in peaks.items():
        parts += roof_line(axes, precision, peak, bandwidth)
    labelled = {diagnosis.step for diagnosis in result.diagnoses}
    for point in found:
        peak_rate = peaks.get(point.precision)
        roof = None if peak_rate is None else min(peak_rate, bandwidth * point.intensity)
        parts.append(marker(axes, point, roof))
    lines = [line for peak in peaks.values() for line in roof_lines(axes, peak, bandwidth)]
    parts += labels(axes, found, [point for point in found if point.name in labelled], lines)
    return "\n".join([*parts, "</svg>"])


def best_rates(result: BenchmarkResult) -> dict[str, float]:
    """Return the highest matmul rate of each precision, in FLOP/s."""
    best: dict[str, float] = {}
    for kernel in result.kernels:
        if kernel.group == "matmul":
            best[kernel.precision] = max(best.get(kernel.precision, 0.0), kernel.work.flops / kernel.work.seconds)
    return best


def axes_around(found: list[Point], peaks: Mapping[str, float], bandwidth: float) -> Axes:
    """Return axes from and to whole powers of ten that hold every point and every ridge."""
    xs = [point.intensity for point in found] + [max(peaks.values()) / bandwidth]
    ys = [point.rate for point in found] + list(peaks.values())
    return Axes(
        math.floor(math.log10(min(xs))),
        math.ceil(math.log10(max(xs))),
        math.floor(math.log10(min(ys))),
        math.ceil(math.log10(max(ys) * 1.2)),
    )


def grid_lines(axes: Axes) -> list[str]:
    """Return lines and labels at every power of ten."""
    parts = []
    for power in range(axes.x0, axes.x1 + 1):
        x = axes.x(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        label = f"{10.0**power:g}"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for power in range(axes.y0, axes.y1 + 1):
        y = axes.y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{si_prefixed(10.0**power)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">operations per byte (FLOP/B)</text>')
    parts.append(f'<text x="{LEFT - 8}" y="{TOP - 18}" text-anchor="end">FLOP/s</text>')
    return parts


def roof_line(axes: Axes, precision: str, peak: float, bandwidth: float) -> list[str]:
    """Return one precision's roof: it rises with the bandwidth, then is flat at the peak."""
    rising, flat = roof_lines(axes, peak, bandwidth)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*rising, flat[1]))
    label = f"{precision} {si_prefixed(peak, 3)}FLOP/s"
    place = f'x="{WIDTH - RIGHT - 4}" y="{axes.y(peak) - 5:.1f}" text-anchor="end"'
    return [
        f'<polyline class="roof {precision}" points="{path}"/>',
        f'<text class="{precision}" {place}>{label}</text>',
    ]


def roof_lines(axes: Axes, peak: float, bandwidth: float) -> tuple[Line, Line]:
    """Return the rising and the flat part of a roof."""
    start = max(10.0**axes.x0, 10.0**axes.y0 / bandwidth)
    corners = [(start, start * bandwidth), (peak / bandwidth, peak), (10.0**axes.x1, peak)]
    first, ridge, last = [(axes.x(x), axes.y(y)) for x, y in corners]
    return (first, ridge), (ridge, last)


def labels(axes: Axes, found: Sequence[Point], named: Sequence[Point], lines: Sequence[Line]) -> list[str]:
    """Return the names of some points, each near its point, on no mark, line or other name as far as there is room.

    `found`: every point that has a mark. `lines`: the roofs. A thin line leads from a name to its point.
    """
    taken = [_mark(axes, point) for point in found]
    taken += [Box(x1 - ROOF_NAME, y1 - LINE_HEIGHT, x1, y1) for _, (x1, y1) in lines[1::2]]  # their own names
    parts = []
    for point in sorted(named, key=lambda p: (axes.y(p.rate), axes.x(p.intensity))):
        x, y = axes.x(point.intensity), axes.y(point.rate)
        width = CHARACTER * len(point.name)
        places = [_label_box(x, y, width, side, away, down) for away, down, side in OFFSETS]
        inside = [
            box for box in places if box.x0 >= LEFT and box.x1 <= WIDTH - RIGHT and box.y0 >= TOP and box.y1 <= FLOOR
        ]
        best = min(inside or places, key=lambda box: _covered(box, taken, lines))  # the first, which is the nearest
        taken.append(best)
        near = best.x0 if best.x0 > x else best.x1
        middle = (best.y0 + best.y1) / 2
        start = x + (9 if best.x0 > x else -9)
        parts.append(f'<line class="grid" x1="{start:.1f}" y1="{y:.1f}" x2="{near:.1f}" y2="{middle:.1f}"/>')
        parts.append(f'<text class="name" x="{best.x0 + 3:.1f}" y="{middle + 4:.1f}">{escape(point.name)}</text>')
    return parts


def _label_box(x: float, y: float, width: float, side: int, away: int, down: int) -> Box:
    x0 = x + away if side > 0 else x - away - width - 6
    return Box(x0, y + down - LINE_HEIGHT / 2, x0 + width + 6, y + down + LINE_HEIGHT / 2)


def _mark(axes: Axes, point: Point) -> Box:
    x, y, radius = axes.x(point.intensity), axes.y(point.rate), 4 if point.kind == "kernel" else 9
    return Box(x - radius, y - radius, x + radius, y + radius)


def _covered(box: Box, taken: Sequence[Box], lines: Sequence[Line]) -> int:
    """Return how many boxes and lines a box covers."""
    boxes = sum(box.x0 < b.x1 and b.x0 < box.x1 and box.y0 < b.y1 and b.y0 < box.y1 for b in taken)
    return boxes + sum(_crosses(box, line) for line in lines)


def _crosses(box: Box, line: Line) -> bool:
    """Return whether a line that runs to the right enters a box."""
    (x0, y0), (x1, y1) = line
    left, right = max(x0, box.x0), min(x1, box.x1)
    if left > right:
        return False
    ends = [y0 + (y1 - y0) * (x - x0) / (x1 - x0) if x1 > x0 else y0 for x in (left, right)]
    return min(ends) < box.y1 and max(ends) > box.y0


def marker(axes: Axes, point: Point, roof: float | None) -> str:
    """Return a circle for a kernel or a diamond for a step, with its figures as text for hovering and screen readers.

    `roof`: the roof above the point, in FLOP/s; None if no peak of its precision was measured.
    """
    x, y = axes.x(point.intensity), axes.y(point.rate)
    spread = f"{si_prefixed(point.low, 3)}FLOP/s to {si_prefixed(point.high, 3)}FLOP/s, n {point.n}"
    limit = "no roof of its precision was measured" if roof is None else f"the roof is at {si_prefixed(roof, 3)}FLOP/s"
    about = f"{point.name}: {si_prefixed(point.rate, 3)}FLOP/s ({spread}) at {point.intensity:.3g} FLOP/B; {limit}"
    if point.kind == "kernel":
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    else:
        shape = f'<path d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z"/>'
    return f'<g class="{point.kind} {point.precision}"><title>{escape(about)}</title>{shape}</g>'


def si_prefixed(value: float, digits: int = 1) -> str:
    """Return a number with its SI prefix: 1.89e11 is `189 G`."""
    scale, prefix = next(((s, p) for s, p in _PREFIXES if value >= s), (1.0, ""))
    return f"{value / scale:.{digits}g} {prefix}" if value / scale < 10**digits else f"{value / scale:.0f} {prefix}"
