"""The roofline as SVG: what the machine can do at most, and the kernels and training steps as points under it.

Williams, Waterman, Patterson 2009: attainable FLOP/s = min(peak, bandwidth x operations per byte). Both axes are
logarithmic, so that distance to the roof is the factor that is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from app.benchmark.figure import Work
from app.benchmark.results import Result

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 34, 50
LINE_HEIGHT = 15
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


@dataclass(frozen=True)
class Point:
    """Something that ran: operations a byte, operations a second."""

    name: str
    kind: str
    """`kernel` or `step`: its mark."""
    precision: str
    intensity: float
    rate: float
    low: float
    high: float
    n: int
    """Of `rate`: its spread and how often it was measured."""


@dataclass(frozen=True)
class Axes:
    """Powers of ten that the picture spans."""

    x0: int
    x1: int
    y0: int
    y1: int

    def x(self, intensity: float) -> float:
        return LEFT + (math.log10(intensity) - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, rate: float) -> float:
        return HEIGHT - BOTTOM - (math.log10(rate) - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def points(result: Result) -> list[Point]:
    """Kernels and steps that compute something; copies and transfers have no place on the picture."""
    kernels = [_point(k.name, "kernel", k.precision, k.work) for k in result.kernels if k.work.flops and k.work.bytes]
    steps = [_point(s.name, "step", s.precision, s.work) for s in result.steps if s.work.flops and s.work.bytes]
    return kernels + steps


def _point(name: str, kind: str, precision: str, work: Work) -> Point:
    time = work.time
    rate, low, high = (1e3 * work.flops / milliseconds for milliseconds in (time.value, time.high, time.low))
    return Point(name, kind, precision, work.flops / work.bytes, rate, low, high, time.n)


def svg(result: Result) -> str:
    """The picture, or a sentence where nothing was measured that it could show."""
    found = points(result)
    peaks = best_rates(result)
    bandwidth = max((k.work.bytes / k.work.seconds for k in result.kernels if k.group == "memory"), default=None)
    if not found or not peaks or bandwidth is None:
        return "<p>No roofline: it needs a matrix product and the memory bandwidth.</p>"
    axes = span(found, peaks, bandwidth)
    about = "Roofline: operations per second over operations per byte"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">']
    parts += grid(axes)
    for precision, peak in peaks.items():
        parts += roof(axes, precision, peak, bandwidth)
    labelled = {diagnosis.step for diagnosis in result.diagnoses}
    for point in found:
        roof_of = peaks.get(point.precision)
        above = None if roof_of is None else min(roof_of, bandwidth * point.intensity)
        parts.append(mark(axes, point, above))
    parts += names(axes, [point for point in found if point.name in labelled])
    return "\n".join([*parts, "</svg>"])


def best_rates(result: Result) -> dict[str, float]:
    """Highest matmul rate in FLOP/s by precision."""
    best: dict[str, float] = {}
    for kernel in result.kernels:
        if kernel.group == "matmul":
            best[kernel.precision] = max(best.get(kernel.precision, 0.0), kernel.work.flops / kernel.work.seconds)
    return best


def span(found: list[Point], peaks: Mapping[str, float], bandwidth: float) -> Axes:
    """Whole powers of ten around every point and the ridge."""
    xs = [point.intensity for point in found] + [max(peaks.values()) / bandwidth]
    ys = [point.rate for point in found] + list(peaks.values())
    return Axes(
        math.floor(math.log10(min(xs))),
        math.ceil(math.log10(max(xs))),
        math.floor(math.log10(min(ys))),
        math.ceil(math.log10(max(ys) * 1.2)),
    )


def grid(axes: Axes) -> list[str]:
    """Lines and labels at every power of ten."""
    parts = []
    for power in range(axes.x0, axes.x1 + 1):
        x = axes.x(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        label = f"{10.0**power:g}"
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>')
    for power in range(axes.y0, axes.y1 + 1):
        y = axes.y(10.0**power)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{prefixed(10.0**power)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">operations per byte (FLOP/B)</text>')
    parts.append(f'<text x="{LEFT - 8}" y="{TOP - 18}" text-anchor="end">FLOP/s</text>')
    return parts


def roof(axes: Axes, precision: str, peak: float, bandwidth: float) -> list[str]:
    """One precision's roof: up with the bandwidth, then flat at its peak."""
    start = max(10.0**axes.x0, 10.0**axes.y0 / bandwidth)
    ridge = peak / bandwidth
    corners = [(start, start * bandwidth), (ridge, peak), (10.0**axes.x1, peak)]
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in corners)
    label = f"{precision} {prefixed(peak, 3)}FLOP/s"
    place = f'x="{WIDTH - RIGHT - 4}" y="{axes.y(peak) - 5:.1f}" text-anchor="end"'
    return [
        f'<polyline class="roof {precision}" points="{path}"/>',
        f'<text class="{precision}" {place}>{label}</text>',
    ]


def names(axes: Axes, found: Sequence[Point]) -> list[str]:
    """The names of points beside them, pushed apart where they would lie on each other, with a line from each point."""
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


def mark(axes: Axes, point: Point, above: float | None) -> str:
    """A circle for a kernel, a diamond for a step; the name and the figures on hovering and for screen readers.

    `above`: the roof over the point, in FLOP/s.
    """
    x, y = axes.x(point.intensity), axes.y(point.rate)
    spread = f"{prefixed(point.low, 3)}FLOP/s to {prefixed(point.high, 3)}FLOP/s, n {point.n}"
    limit = "no roof of its precision was measured" if above is None else f"the roof is at {prefixed(above, 3)}FLOP/s"
    about = f"{point.name}: {prefixed(point.rate, 3)}FLOP/s ({spread}) at {point.intensity:.3g} FLOP/B; {limit}"
    if point.kind == "kernel":
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    else:
        shape = f'<path d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8z"/>'
    return f'<g class="{point.kind} {point.precision}"><title>{escape(about)}</title>{shape}</g>'


def prefixed(value: float, digits: int = 1) -> str:
    """A number with its SI prefix: 1.89e11 is `189 G`."""
    scale, prefix = next(((s, p) for s, p in _PREFIXES if value >= s), (1.0, ""))
    return f"{value / scale:.{digits}g} {prefix}" if value / scale < 10**digits else f"{value / scale:.0f} {prefix}"
