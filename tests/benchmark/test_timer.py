"""Calls are timed in turns, after a warm-up, and summarized with their spread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.benchmark.timer import EnqueueClock, HostClock, measure, percentile, settled, summarize, warm_up


class FakeClock:
    """Returns the time of each call without waiting, and remembers the order."""

    def __init__(self, *seconds: float) -> None:
        self.seconds_of = seconds
        self.order: list[int] = []
        self.repeats: list[int] = []

    def seconds(self, call: Callable[[], object], repeats: int) -> float:
        which = call()
        assert isinstance(which, int)
        self.order.append(which)
        self.repeats.append(repeats)
        return self.seconds_of[which]


def test_calls_take_turns() -> None:
    clock = FakeClock(0.01, 0.02)
    timings = measure({"A": lambda: 0, "B": lambda: 1}, clock, seconds=10, rounds=(6, 6))
    assert clock.order[-12:] == [0, 1] * 6
    assert (timings["A"].median, timings["B"].median) == (0.01, 0.02)
    assert timings["A"].n == 6


def test_short_calls_are_repeated_until_a_sample_is_long_enough() -> None:
    clock = FakeClock(1e-5)
    measure({"A": lambda: 0}, clock, seconds=10, rounds=(5, 5))
    assert clock.repeats[-1] == 100


def test_measuring_stops_when_its_time_is_over() -> None:
    start = time.monotonic()
    timing = measure({"A": lambda: time.sleep(0.005)}, HostClock(), seconds=0.2)["A"]
    assert time.monotonic() - start < 0.5
    assert 5 <= timing.n <= 40
    assert 0.005 <= timing.median < 0.01


def test_a_call_far_slower_than_its_time_is_timed_twice() -> None:
    timing = measure({"A": lambda: time.sleep(0.05)}, HostClock(), seconds=0.02)["A"]
    assert timing.n == 2


def test_warm_up_ends_when_the_times_have_settled() -> None:
    falling = iter([1.0, 0.5, 0.3, 0.2, 0.15] + [0.1] * 100)

    class Falling:
        def seconds(self, call: Callable[[], object], repeats: int) -> float:
            return next(falling)

    times, is_settled = warm_up(lambda: None, Falling(), seconds=10)
    assert is_settled
    assert times[-5:] == [0.1] * 5, "the falling part is not measured"
    assert len(times) < 20


def test_warm_up_stops_when_its_time_is_over() -> None:
    growing = iter(2.0**n for n in range(100_000))

    class Growing:
        def seconds(self, call: Callable[[], object], repeats: int) -> float:
            time.sleep(0.001)
            return next(growing)

    times, is_settled = warm_up(lambda: None, Growing(), seconds=0.02)
    assert not is_settled and times


def test_settled_needs_two_whole_windows() -> None:
    assert not settled([1.0] * 9)
    assert settled([1.0] * 10)
    assert not settled([1.1] * 5 + [1.0] * 5)


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    assert percentile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9)


def test_a_summary_holds_the_spread() -> None:
    timing = summarize([float(n) for n in range(1, 12)])
    assert (timing.p10, timing.median, timing.p90, timing.n) == (2.0, 6.0, 10.0, 11)


def test_the_hosts_time_excludes_the_wait_for_the_device() -> None:
    clock = EnqueueClock(lambda: time.sleep(0.02))
    assert 0.002 <= clock.seconds(lambda: time.sleep(0.002), repeats=7) < 0.01, "one call, and no wait"
