"""A measured number with what it takes to understand it: unit, spread, count and limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.benchmark.timer import Timing

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Limit:
    """The best value that a figure could have on this machine, in the figure's unit, and the source of that value.

    `value` is None if no limit is known; `source` then says why. `ceiling`: the figure should stay below the limit, as
    memory does, instead of coming close to it.
    """

    value: float | None
    source: str
    ceiling: bool = False


@dataclass(frozen=True)
class Figure:
    """One number: its unit, its spread (`low` to `high`: 10th to 90th percentile of `n` samples) and its limit.

    `n` is 1 for a number that was read or counted once, and 0 for an estimate, which lies anywhere in its spread.
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
        """The value relative to its limit: 1 is at the limit. None if no limit is known, or if either is 0."""
        if not self.limit.value or not self.value:
            return None
        rises = self.better == "higher" or self.limit.ceiling
        return self.value / self.limit.value if rises else self.limit.value / self.value

    @property
    def spread(self) -> float:
        """Width of the spread as a share of the value."""
        return (self.high - self.low) / abs(self.value) if self.value else 0.0


def rate(amount: float, unit: str, timing: Timing, limit: Limit) -> Figure:
    """Return `amount` a call as a rate; higher is better. The longest times are the lowest rates."""
    return Figure(
        value=amount / timing.median,
        unit=unit,
        low=amount / timing.p90,
        high=amount / timing.p10,
        n=timing.n,
        limit=limit,
        better="higher",
    )


def duration(timing: Timing, limit: Limit) -> Figure:
    """Return the time a call takes, in ms; lower is better."""
    return Figure(timing.median * 1e3, "ms", timing.p10 * 1e3, timing.p90 * 1e3, timing.n, limit, "lower")


def single(value: float, unit: str, limit: Limit, better: Better = "lower") -> Figure:
    """Return a number that was read once, such as a size or a compilation time. Its spread is the value itself."""
    return Figure(value, unit, value, value, 1, limit, better)


def counted(value: float, unit: str, how: str) -> Figure:
    """Return a number that was counted: exact, and without a limit. `how`: the rule of counting."""
    return single(value, unit, Limit(None, how))


@dataclass(frozen=True)
class Work:
    """One call's time (ms), and its operations (FLOP) and memory traffic (B) if they were counted."""

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


def kernel_work(timing: Timing, flops: float, moved: float, limit: Limit) -> Work:
    """Return a kernel's work; `limit` is that of its time, in ms."""
    how = "counted as the kernel's shape says"
    return Work(duration(timing, limit), counted(flops, "FLOP", how), counted(moved, "B", how))
