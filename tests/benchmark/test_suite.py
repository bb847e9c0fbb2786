"""The whole benchmark: a misspelt name ends it at once; a later failure costs only the part that failed."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from app.benchmark import noise, suite
from app.benchmark.budget import Budget
from app.benchmark.kernels import attention, memory, optimizer
from app.benchmark.limits import Limits
from app.benchmark.results import Kernel
from app.benchmark.steps.recipe import RecipeMeasurement
from app.benchmark.timer import Timing
from app.errors import ConfigError
from tests.benchmark.sample_results import result, step

CPU = torch.device("cpu")
TIMING = Timing(1.0, 1.0, 1.0, 9)
MEASURE_KERNELS = suite.measure_kernels


@pytest.fixture(autouse=True)
def _instant_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "measure_kernels", lambda device, _: (Limits.of(device), list(result().kernels)))
    monkeypatch.setattr(suite, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(noise, "sample", lambda *_: noise.NoiseSample(TIMING, TIMING, 0.0, 0.0))


def measured(name: str, overrides: Sequence[str], limits: Limits, budget: Budget) -> RecipeMeasurement:
    """Return the measurement of a recipe at once."""
    return RecipeMeasurement([step(recipe=name)], result().kernels[0], None, [])


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")


def test_an_override_that_fits_no_recipe_ends_the_benchmark_before_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "measure_kernels", lambda *_: pytest.fail("measured first"))
    with pytest.raises(ConfigError, match="bach_size"):
        suite.run([], ["trainer.bach_size=8"], Budget(2))


def test_every_misspelt_recipe_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        suite.load_recipes(["hello-liner", "gpt-char", "sentimental"], [], Budget(1))
    assert "hello-liner" in str(caught.value) and "sentimental" in str(caught.value)


def test_shipped_recipes_that_the_overrides_do_not_fit_are_skipped() -> None:
    budget = Budget(1)
    names = [name for name, _ in suite.load_recipes([], ["model.layers=1"], budget)]
    assert "gpt-char" in names and "hello-linear" not in names
    assert "hello-linear" in {item.name for item in budget.skipped}


def test_each_recipe_is_measured_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = {"hello-linear": CPU, "gpt-char": torch.device("meta")}
    seen: dict[str, tuple[str, float | None]] = {}

    def note(name: str, overrides: Sequence[str], limits: Limits, budget: Budget) -> RecipeMeasurement:
        seen[name] = (limits.device.type, limits.measured_bandwidth)
        return measured(name, overrides, limits, budget)

    def kernels(device: torch.device, budget: Budget) -> tuple[Limits, list[Kernel]]:
        return replace(Limits.of(device), measured_bandwidth=1e9), list(result().kernels)

    monkeypatch.setattr(suite, "device_of", lambda recipe: devices[recipe.name])
    monkeypatch.setattr(suite, "measure_kernels", kernels)
    monkeypatch.setattr(suite, "measure_recipe", note)
    monkeypatch.setattr(suite, "loop_overhead", fail)
    suite.run(["hello-linear", "gpt-char"], [], Budget(5))
    assert seen == {"hello-linear": ("cpu", 1e9), "gpt-char": ("meta", None)}, "another device's limits do not apply"


def test_a_recipe_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_fails(name: str, *rest: Any) -> RecipeMeasurement:
        return fail() if name == "gpt-char" else measured(name, *rest)

    monkeypatch.setattr(suite, "measure_recipe", one_fails)
    monkeypatch.setattr(suite, "loop_overhead", fail)
    found = suite.run(["gpt-char", "hello-linear"], ["trainer.max_steps=4"], Budget(5))
    assert [step.recipe for step in found.steps] == ["hello-linear"]
    why = {item.name: item.reason for item in found.skipped}
    assert why["gpt-char"] == why["loop hello-linear"] == "CUDA out of memory."


def test_the_models_of_the_steps_are_freed_before_the_loops_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        pass

    left: list[weakref.ref[Model]] = []

    def with_a_cycle(*arguments: Any) -> RecipeMeasurement:
        model: Any = Model()
        model.trainer = model  # as Trainer and module reference each other
        left.append(weakref.ref(model))
        return measured(*arguments)

    def overhead(*_: object) -> Kernel:
        assert left[0]() is None
        return result().kernels[0]

    monkeypatch.setattr(suite, "measure_recipe", with_a_cycle)
    monkeypatch.setattr(suite, "loop_overhead", overhead)
    gc.disable()
    try:
        assert len(suite.run(["hello-linear"], [], Budget(5)).kernels) == len(result().kernels) + 2
    finally:
        gc.enable()


def test_a_recipe_with_few_steps_still_has_its_overhead_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "measure_recipe", measured)
    settings = ["trainer.max_steps=4", "trainer.batch_size=64"]
    found = suite.run(["hello-linear"], settings, Budget(6))
    assert "loop hello-linear" in {kernel.name for kernel in found.kernels}


def test_a_kernel_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, attention, optimizer):
        monkeypatch.setattr(module, "measure", fail)
    budget = Budget(1)
    limits, kernels = MEASURE_KERNELS(CPU, budget)
    assert {kernel.group for kernel in kernels} == {"matmul"}
    assert limits.measured_flops and limits.measured_bandwidth is None
    assert {"memory bandwidth", "attention MiniLM", "optimizer AdamW"} <= {item.name for item in budget.skipped}
