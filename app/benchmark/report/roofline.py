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
    parts += labels(axes, [point for point in found if point.name in labelled])
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
    start = max(10.0**axes.x0, 10.0**axes.y0 / bandwidth)
    ridge = peak / bandwidth
    corners = [(start, start * bandwidth), (ridge, peak), (10.0**axes.x1, peak)]
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in corners)
    label = f"{precision} {si_prefixed(peak, 3)}FLOP/s"
    place = f'x="{WIDTH - RIGHT - 4}" y="{axes.y(peak) - 5:.1f}" text-anchor="end"'
    return [
        f'<polyline class="roof {precision}" points="{path}"/>',
        f'<text class="{precision}" {place}>{label}</text>',
    ]


def labels(axes: Axes, found: Sequence[Point]) -> list[str]:
    """Return the names of points next to them, moved down if they would overlap, each with a line to its point."""
    parts = []
    below = 0.0
    for point in sorted(found, key=lambda p: axes.y(p.rate)):
        x, y = axes.x(point.intensity), axes.y(point.rate)
        below = max(y, below + LINE_HEIGHT)
        side, anchor = (1, "start") if x < 0.7 * WIDTH else (-1, "end")
        start, end = x + 9 * side, x + 24 * side
        parts.append(f'<line class="grid" x1="{start:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{below:.1f}"/>')
        place = f'x="{end + 3 * side:.1f}" y="{below + 4:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="name" {place}>{escape(point.name)}</text>')
    return parts


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
