"""Check whether this machine is quiet enough for its figures to be believed.

One call is timed against itself, before and after everything else. Two equal times are not enough: a neighbour that
takes half of the machine slows both down equally. So the Linux kernel's counters are read as well: how long threads of
this process were ready and did not get a processor, and how much time the hypervisor gave to other machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from app.benchmark.figure import Figure, Limit
from app.benchmark.kernels.matmul import float32_mode_restored, matmul_call
from app.benchmark.results import Noise
from app.benchmark.timer import Timing, clock_for, measure

# Above these, medians of two runs were seen to differ by more than the 5 % that a figure may be off by.
MOST_RATIO = 0.03
MOST_DRIFT = 0.05
MOST_SPREAD = 0.20
MOST_WAITED = 0.05
MOST_STOLEN = 0.05

_SIDE = {"cpu": 768, "cuda": 4096}  # of the square matrices; the product takes milliseconds on either


@dataclass(frozen=True)
class NoiseSample:
    """One call timed as two: `first` and `second` in turns; and the shares of the time that others took meanwhile."""

    first: Timing
    second: Timing
    waited: float | None
    """Share of the time in which threads of this process waited for a processor. None if the kernel keeps no count."""
    stolen: float | None
    """Share of the machine's time that the hypervisor gave to others. None if the kernel keeps no count."""


def sample(device: torch.device, seconds: float) -> NoiseSample:
    """Time one matrix product against itself for about `seconds`, and count what others take meanwhile."""
    side = _SIDE.get(device.type, 768)
    a, b = torch.randn(side, side, device=device), torch.randn(side, side, device=device)

    multiply = matmul_call(a, b, "fp32")  # always fp32: a recipe in tf32 may have run since the last sample
    with float32_mode_restored():
        before = _Counters.read()
        timings = measure({"A": multiply, "B": multiply}, clock_for(device), seconds, rounds=(10, 1000))
        after = _Counters.read()
    return NoiseSample(timings["A"], timings["B"], after.waited_since(before), after.stolen_since(before))


def assess(samples: Sequence[NoiseSample]) -> Noise:
    """Return the worst value of each kind of noise over all samples, and the reasons not to believe the figures."""
    medians = [0.5 * (s.first.median + s.second.median) for s in samples]
    ratio = _worst([abs(s.first.median / s.second.median - 1) for s in samples], MOST_RATIO)
    spread = _worst([(t.p90 - t.p10) / t.median for s in samples for t in (s.first, s.second)], MOST_SPREAD)
    drift = _worst([max(medians) / min(medians) - 1], MOST_DRIFT)
    waited = _worst([s.waited for s in samples if s.waited is not None], MOST_WAITED)
    stolen = _worst([s.stolen for s in samples if s.stolen is not None], MOST_STOLEN)
    assert ratio and spread and drift
    kinds = (
        (ratio, "the same call timed twice in turns differs"),
        (drift, "the same call at the start and at the end differs"),
        (spread, "the same call spreads from its 10th to its 90th percentile"),
        (waited, "other work kept our threads from running for a part of the time"),
        (stolen, "the hypervisor gave a part of the time to others"),
    )
    reasons = tuple(
        f"{what}: {figure.value:.1f}%, {figure.limit.value:.0f}% is the most to believe"
        for figure, what in kinds
        if figure and figure.limit.value is not None and figure.value > figure.limit.value
    )
    return Noise(ratio, spread, drift, waited, stolen, reasons)


def _worst(shares: Sequence[float], most: float) -> Figure | None:
    """Return the highest of some shares, in %, with their spread; None if there are none."""
    if not shares:
        return None
    limit = Limit(100 * most, "the most with which medians were seen to repeat within 5%", ceiling=True)
    return Figure(100 * max(shares), "%", 100 * min(shares), 100 * max(shares), len(shares), limit, "lower")


@dataclass(frozen=True)
class _Counters:
    """Nanoseconds that this process's threads ran and waited for a processor; ticks of all processors, and stolen ones.

    Sources: Documentation/scheduler/sched-stats.rst (schedstat: ran, waited, slices) and proc(5) (/proc/stat).
    """

    ran: int | None
    waited: int | None
    stolen: int | None
    ticks: int | None

    @classmethod
    def read(cls) -> _Counters:
        """Return the counters now; None for those that the kernel does not keep."""
        ran = waited = 0
        for task in Path("/proc/self/task").glob("*/schedstat"):
            try:
                first, second, _ = task.read_text().split()
            except (OSError, ValueError):
                continue  # the thread ended meanwhile
            ran, waited = ran + int(first), waited + int(second)
        try:
            ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            ticks = []
        return cls(ran or None, waited if ran else None, ticks[7] if len(ticks) == 8 else None, sum(ticks) or None)

    def waited_since(self, before: _Counters) -> float | None:
        if self.ran is None or self.waited is None or before.ran is None or before.waited is None:
            return None
        ran, waited = self.ran - before.ran, self.waited - before.waited
        return waited / (ran + waited) if ran + waited > 0 else None

    def stolen_since(self, before: _Counters) -> float | None:
        if self.stolen is None or self.ticks is None or before.stolen is None or before.ticks is None:
            return None
        ticks = self.ticks - before.ticks
        return (self.stolen - before.stolen) / ticks if ticks > 0 else None
