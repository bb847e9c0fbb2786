"""Time calls so that their times can be compared: warmed up, interleaved, with their spread.

    timings = measure({"a": first, "b": second}, clock_for(device), seconds=4)
    timings["a"].median      # seconds a call

Calls are timed in rounds, A B A B, so that a machine that slows down affects all of them equally.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

Call = Callable[[], object]
K = TypeVar("K", bound=Hashable)

# A shorter sample would mostly measure the clock itself: about 50 ns to read it, 10 us of scheduling jitter.
LEAST_SAMPLE_SECONDS = 1e-3
# Warm-up ends as soon as the medians of two consecutive windows of samples differ by at most this share.
WARM_WINDOW = 5
WARM_TOLERANCE = 0.02
LEAST_ROUNDS, MOST_ROUNDS = 5, 200


@dataclass(frozen=True)
class Timing:
    """Seconds that one call takes: median, 10th and 90th percentile of `n` samples, after `warm_up` calls.

    `settled`: whether the warm-up ended because the times had settled, and not because its time was over.
    """

    median: float
    p10: float
    p90: float
    n: int
    warm_up: int = 0
    settled: bool = True


class Clock(Protocol):
    """Something that times calls."""

    def seconds(self, call: Call, repeats: int) -> float:
        """Call `repeats` times in a row and return the seconds of one call."""
        ...


class HostClock:
    """The host's monotonic clock, for work that is finished when the call returns."""

    def seconds(self, call: Call, repeats: int) -> float:
        start = time.perf_counter_ns()
        for _ in range(repeats):
            call()
        return (time.perf_counter_ns() - start) / 1e9 / repeats


class CudaClock:
    """CUDA events, which leave out the time that the host takes to notice the end.

    With `flush`, the L2 cache is overwritten before each sample and a sample is one call: a kernel then reads its
    inputs from memory, as it does in a model. Training steps are not flushed: the cache holds what the last one left.
    """

    def __init__(self, device: torch.device, flush: bool) -> None:
        # torch 2.0 does not report the size of L2; 256 MB is five times the largest (H100 and H200: 50 MB).
        self._scratch = torch.empty(256 << 20, dtype=torch.int8, device=device) if flush else None
        cuda: Any = torch.cuda  # its events carry no types
        self._start = cuda.Event(enable_timing=True)
        self._end = cuda.Event(enable_timing=True)

    def seconds(self, call: Call, repeats: int) -> float:
        if self._scratch is not None:
            repeats = 1
            self._scratch.zero_()
        self._start.record()
        for _ in range(repeats):
            call()
        self._end.record()
        self._end.synchronize()
        return float(self._start.elapsed_time(self._end)) / 1e3 / repeats


class EnqueueClock:
    """The host's time to enqueue work on a device that runs asynchronously; `wait` blocks until the device is idle.

    A sample is one call: after many of them the queue is full and the host waits for the device.
    """

    def __init__(self, wait: Call) -> None:
        self._wait = wait

    def seconds(self, call: Call, repeats: int) -> float:
        self._wait()
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) / 1e9


def clock_for(device: torch.device, flush: bool = False) -> Clock:
    """Return the clock for work on a device."""
    return CudaClock(device, flush) if device.type == "cuda" else HostClock()


def measure(
    calls: Mapping[K, Call],
    clock: Clock,
    seconds: float,
    rounds: tuple[int, int] = (LEAST_ROUNDS, MOST_ROUNDS),
) -> dict[K, Timing]:
    """Time every call, interleaved, within about `seconds` for all together, in `rounds[0]` to `rounds[1]` rounds.

    If even `rounds[0]` rounds would take more than twice the time, there are fewer, at least 2; `n` is their number.
    """
    least, most = rounds
    warm = {name: warm_up(call, clock, seconds=0.25 * seconds / len(calls)) for name, call in calls.items()}
    repeats = {
        name: max(1, math.ceil(LEAST_SAMPLE_SECONDS / max(times[-1], 1e-9))) for name, (times, _) in warm.items()
    }
    samples: dict[K, list[float]] = {name: [] for name in calls}
    start = time.monotonic()
    for done in range(most):
        used = time.monotonic() - start
        if (done >= least and used >= 0.75 * seconds) or (done >= 2 and used >= 2 * seconds):
            break
        for name, call in calls.items():
            samples[name].append(clock.seconds(call, repeats[name]))
    return {name: summarize(samples[name], warm_up=len(warm[name][0]), settled=warm[name][1]) for name in calls}


def warm_up(call: Call, clock: Clock, seconds: float) -> tuple[list[float], bool]:
    """Call until the times settle or `seconds` are over; return the times, in seconds, and whether they settled."""
    times: list[float] = []
    end = time.monotonic() + seconds
    while True:
        times.append(clock.seconds(call, 1))
        if settled(times):
            return times, True
        if time.monotonic() >= end:
            return times, False


def settled(times: Sequence[float]) -> bool:
    """Return whether the medians of the last two windows agree within `WARM_TOLERANCE`."""
    if len(times) < 2 * WARM_WINDOW:
        return False
    before = percentile(times[-2 * WARM_WINDOW : -WARM_WINDOW], 0.5)
    now = percentile(times[-WARM_WINDOW:], 0.5)
    return abs(now - before) <= WARM_TOLERANCE * before


def summarize(samples: Sequence[float], warm_up: int = 0, settled: bool = True) -> Timing:
    """Return median, 10th and 90th percentile of samples."""
    return Timing(
        median=percentile(samples, 0.5),
        p10=percentile(samples, 0.1),
        p90=percentile(samples, 0.9),
        n=len(samples),
        warm_up=warm_up,
        settled=settled,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, interpolated linearly (numpy's default)."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
