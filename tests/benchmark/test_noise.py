"""The self-check believes a quiet machine and says why it does not believe another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from app.benchmark import noise
from app.benchmark.kernels.matmul import multiplication_restored
from app.benchmark.noise import Check, check, judge
from app.benchmark.timer import Timing


def timing(median: float, spread: float = 0.02) -> Timing:
    return Timing(median, median * (1 - spread / 2), median * (1 + spread / 2), 50)


def quiet(median: float = 1.0) -> Check:
    return Check(timing(median), timing(median * 1.01), waited=0.001, stolen=0.0)


def test_a_quiet_machine_is_believed() -> None:
    found = judge([quiet(), quiet(1.02)])
    assert found.quiet and found.reasons == ()
    assert found.ratio.value == pytest.approx(1, abs=0.1) and found.ratio.n == 2
    assert found.drift.value == pytest.approx(2, abs=0.1)
    assert found.level == found.drift.value / 100


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
    found = judge([quiet(), bad])
    assert not found.quiet
    assert any(word in reason for reason in found.reasons)


def test_counters_that_the_kernel_does_not_keep_are_left_out() -> None:
    found = judge([Check(timing(1.0), timing(1.0), None, None)])
    assert found.quiet and found.waited is None and found.stolen is None


def test_the_check_measures_this_machine() -> None:
    found = check(torch.device("cpu"), seconds=0.1)
    assert found.first.median > 0 and found.second.n >= 2
    assert found.waited is None or 0 <= found.waited <= 1
    assert found.stolen is None or 0 <= found.stolen <= 1


def test_the_check_multiplies_in_float32_whatever_the_last_recipe_did(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def measure(calls: dict[str, Callable[[], object]], *_: object, **__: object) -> dict[str, Timing]:
        for call in calls.values():
            call()
            modes.append(torch.get_float32_matmul_precision())
        return {name: timing(1.0) for name in calls}

    monkeypatch.setattr(noise, "measure", measure)
    with multiplication_restored():
        torch.set_float32_matmul_precision("high")  # type: ignore[no-untyped-call]
        check(torch.device("cpu"), seconds=0.1)
        assert modes == ["highest", "highest"]
        assert torch.get_float32_matmul_precision() == "high", "and leaves it as it was"
