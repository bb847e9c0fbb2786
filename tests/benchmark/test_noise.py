"""A quiet machine is believed, and a noisy one is not, with its reasons."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from app.benchmark import noise
from app.benchmark.kernels.matmul import float32_mode_restored
from app.benchmark.noise import NoiseSample, assess, sample
from app.benchmark.timer import Timing


def timing(median: float, spread: float = 0.02) -> Timing:
    return Timing(median, median * (1 - spread / 2), median * (1 + spread / 2), 50)


def quiet(median: float = 1.0) -> NoiseSample:
    return NoiseSample(timing(median), timing(median * 1.01), waited=0.001, stolen=0.0)


def test_a_quiet_machine_is_believed() -> None:
    measured = assess([quiet(), quiet(1.02)])
    assert measured.quiet and measured.reasons == ()
    assert measured.ratio.value == pytest.approx(1, abs=0.1) and measured.ratio.n == 2
    assert measured.drift.value == pytest.approx(2, abs=0.1)
    assert measured.level == measured.drift.value / 100


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (NoiseSample(timing(1.0), timing(1.2), 0.0, 0.0), "twice in turns"),
        (NoiseSample(timing(1.0, 0.5), timing(1.0), 0.0, 0.0), "spreads"),
        (NoiseSample(timing(1.0), timing(1.0), 0.3, 0.0), "kept our threads"),
        (NoiseSample(timing(1.0), timing(1.0), 0.0, 0.2), "hypervisor"),
        (NoiseSample(timing(1.5), timing(1.5), 0.0, 0.0), "start and at the end"),
    ],
)
def test_each_kind_of_noise_is_named(bad: NoiseSample, word: str) -> None:
    measured = assess([quiet(), bad])
    assert not measured.quiet
    assert any(word in reason for reason in measured.reasons)


def test_counters_that_the_kernel_does_not_keep_are_unknown() -> None:
    measured = assess([NoiseSample(timing(1.0), timing(1.0), None, None)])
    assert measured.quiet and measured.waited is None and measured.stolen is None


def test_a_sample_measures_this_machine() -> None:
    measured = sample(torch.device("cpu"), seconds=0.1)
    assert measured.first.median > 0 and measured.second.n >= 2
    assert measured.waited is None or 0 <= measured.waited <= 1
    assert measured.stolen is None or 0 <= measured.stolen <= 1


def test_a_sample_multiplies_in_float32_whatever_the_last_recipe_did(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def measure(calls: dict[str, Callable[[], object]], *_: object, **__: object) -> dict[str, Timing]:
        for call in calls.values():
            call()
            modes.append(torch.get_float32_matmul_precision())
        return {name: timing(1.0) for name in calls}

    monkeypatch.setattr(noise, "measure", measure)
    with float32_mode_restored():
        torch.set_float32_matmul_precision("high")  # type: ignore[no-untyped-call]
        sample(torch.device("cpu"), seconds=0.1)
        assert modes == ["highest", "highest"]
        assert torch.get_float32_matmul_precision() == "high", "and restores the mode"
