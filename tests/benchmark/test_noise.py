"""The self-check believes a quiet machine and says why it does not believe another."""

from __future__ import annotations

import pytest
import torch

from app.benchmark.noise import Check, check, judge
from app.benchmark.timer import Timing


def timing(median: float, spread: float = 0.02) -> Timing:
    return Timing(median, median * (1 - spread / 2), median * (1 + spread / 2), 50)


def quiet(median: float = 1.0) -> Check:
    return Check(timing(median), timing(median * 1.01), waited=0.001, stolen=0.0)


def test_a_quiet_machine_is_believed() -> None:
    noise = judge([quiet(), quiet(1.02)])
    assert noise.quiet and noise.reasons == ()
    assert noise.ratio == pytest.approx(0.01, abs=1e-3)
    assert noise.drift == pytest.approx(0.02, abs=1e-3)
    assert noise.level == max(noise.ratio, noise.drift)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (Check(timing(1.0), timing(1.2), 0.0, 0.0), "twice in turns"),
        (Check(timing(1.0, 0.5), timing(1.0), 0.0, 0.0), "spreads"),
        (Check(timing(1.0), timing(1.0), 0.3, 0.0), "kept our threads"),
        (Check(timing(1.0), timing(1.0), 0.0, 0.2), "hypervisor"),
        (Check(timing(1.5), timing(1.5), 0.0, 0.0), "start and at the end"),
    ],
)
def test_each_kind_of_noise_is_named(bad: Check, word: str) -> None:
    noise = judge([quiet(), bad])
    assert not noise.quiet
    assert any(word in reason for reason in noise.reasons)


def test_counters_that_the_kernel_does_not_keep_are_left_out() -> None:
    noise = judge([Check(timing(1.0), timing(1.0), None, None)])
    assert noise.quiet and noise.waited is None and noise.stolen is None


def test_the_check_measures_this_machine() -> None:
    found = check(torch.device("cpu"), seconds=0.1)
    assert found.first.median > 0 and found.second.n >= 2
    assert found.waited is None or 0 <= found.waited <= 1
    assert found.stolen is None or 0 <= found.stolen <= 1
