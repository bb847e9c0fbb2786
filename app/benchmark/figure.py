"""A number with everything that it needs to be understood: unit, spread, count and limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.benchmark.timer import Timing

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Limit:
    """The best a figure could be on this machine, in the figure's unit, and where that comes from.

    `value` is None where no limit is known; `source` then says why. `ceiling`: a limit to stay under, as memory is, and
    not one to come near.
    """

    value: float | None
    source: str
    ceiling: bool = False


@dataclass(frozen=True)
class Figure:
    """One number: its unit, its spread (`low` to `high`: 10th to 90th percentile of `n` samples) and its limit.

    `n` is 1 for what was read or counted once, and 0 for an estimate, which lies anywhere in its spread.
    """

    value: float
    unit: str
    low: float
    high: float
    n: int
    limit: Limit
    better: Better

    @property
    def share(self) -> float | None:
        """How near the value is to its limit: 1 is at the limit. None where no limit is known, or it is 0."""
        if not self.limit.value or not self.value:
            return None
        rises = self.better == "higher" or self.limit.ceiling
        return self.value / self.limit.value if rises else self.limit.value / self.value

    @property
    def spread(self) -> float:
        """Width of the spread as a share of the value."""
        return (self.high - self.low) / abs(self.value) if self.value else 0.0


def rate(amount: float, unit: str, timing: Timing, limit: Limit) -> Figure:
    """`amount` a call, as a rate: more is better. The slow end of the times is the low end of the rates."""
    return Figure(
        value=amount / timing.median,
        unit=unit,
        low=amount / timing.p90,
        high=amount / timing.p10,
        n=timing.n,
        limit=limit,
        better="higher",
    )


def duration(timing: Timing, limit: Limit, scale: float = 1e3, unit: str = "ms") -> Figure:
    """A time a call, in milliseconds unless told otherwise: less is better."""
    return Figure(timing.median * scale, unit, timing.p10 * scale, timing.p90 * scale, timing.n, limit, "lower")


def single(value: float, unit: str, limit: Limit, better: Better = "lower") -> Figure:
    """A number read once (a size, a compilation): its spread is itself, and `n` says so."""
    return Figure(value, unit, value, value, 1, limit, better)


def counted(value: float, unit: str, how: str) -> Figure:
    """A number that was counted: exact, and without a limit. `how`: by what rule."""
    return single(value, unit, Limit(None, how))


@dataclass(frozen=True)
class Work:
    """One call: the time it takes (ms), and the operations (FLOP) and bytes (B) that it is counted as, where it is."""

    time: Figure
    operations: Figure | None = None
    traffic: Figure | None = None

    @property
    def seconds(self) -> float:
        return self.time.value / 1e3

    @property
    def flops(self) -> float:
        return self.operations.value if self.operations else 0.0

    @property
    def bytes(self) -> float:
        return self.traffic.value if self.traffic else 0.0


def work(timing: Timing, flops: float, moved: float, limit: Limit) -> Work:
    """A kernel's work; `limit` is that of its time, in ms."""
    how = "counted as the kernel's shape says"
    return Work(duration(timing, limit), counted(flops, "FLOP", how), counted(moved, "B", how))
