"""The whole benchmark: what is misspelt ends it at once, and what fails later loses itself alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from app.benchmark import benchmark, noise
from app.benchmark.budget import Budget
from app.benchmark.kernels import attention_adamw, memory, sweep
from app.benchmark.limits import Limits
from app.benchmark.results import Kernel
from app.benchmark.steps.measure import Measured
from app.benchmark.timer import Timing
from app.errors import ConfigError
from tests.benchmark.made import result, step

CPU = torch.device("cpu")
TIMING = Timing(1.0, 1.0, 1.0, 9)


@pytest.fixture(autouse=True)
def _kernels_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure_kernels", lambda *_: list(result().kernels))
    monkeypatch.setattr(benchmark, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(noise, "check", lambda *_: noise.Check(TIMING, TIMING, 0.0, 0.0))


def measured(name: str, overrides: Sequence[str], device: torch.device, limits: Limits, budget: Budget) -> Measured:
    """A recipe that takes no time."""
    return Measured([step(recipe=name)], result().kernels[0], None, [])


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("CUDA out of memory.\nTried to allocate 2 GiB")


def test_an_override_that_fits_no_recipe_ends_it_before_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure_kernels", lambda *_: pytest.fail("measured first"))
    with pytest.raises(ConfigError, match="bach_size"):
        benchmark.run([], ["trainer.bach_size=8"], Budget(2))


def test_every_recipe_that_was_asked_for_and_is_wrong_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        benchmark.loaded(["hello-liner", "gpt-char", "sentimental"], [], Budget(1))
    assert "hello-liner" in str(caught.value) and "sentimental" in str(caught.value)


def test_an_override_that_fits_some_recipes_measures_those() -> None:
    budget = Budget(1)
    names = [name for name, _ in benchmark.loaded([], ["model.layers=1"], budget)]
    assert "gpt-char" in names and "hello-linear" not in names
    assert "hello-linear" in {item.name for item in budget.skipped}


def test_each_recipe_is_measured_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"hello-linear": CPU, "gpt-char": torch.device("meta")}
    seen: dict[str, tuple[str, float | None]] = {}

    def note(name: str, overrides: Sequence[str], device: torch.device, limits: Limits, budget: Budget) -> Measured:
        seen[name] = (device.type, limits.measured_bandwidth)
        assert limits.device == device
        return measured(name, overrides, device, limits, budget)

    def fill(device: torch.device, limits: Limits, budget: Budget) -> list[Kernel]:
        limits.measured_bandwidth = 1e9
        return list(result().kernels)

    monkeypatch.setattr(benchmark, "device_of", lambda recipe: places[recipe.name])
    monkeypatch.setattr(benchmark, "measure_kernels", fill)
    monkeypatch.setattr(benchmark, "measure_recipe", note)
    monkeypatch.setattr(benchmark, "loop_overhead", fail)
    benchmark.run(["hello-linear", "gpt-char"], [], Budget(5))
    assert seen == {"hello-linear": ("cpu", 1e9), "gpt-char": ("meta", None)}, "another device's limits are not its own"


def test_a_recipe_that_fails_loses_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_fails(name: str, *rest: Any) -> Measured:
        return fail() if name == "gpt-char" else measured(name, *rest)

    monkeypatch.setattr(benchmark, "measure_recipe", one_fails)
    monkeypatch.setattr(benchmark, "loop_overhead", fail)
    found = benchmark.run(["gpt-char", "hello-linear"], ["trainer.max_steps=4"], Budget(5))
    assert [step.recipe for step in found.steps] == ["hello-linear"]
    why = {item.name: item.reason for item in found.skipped}
    assert why["gpt-char"] == why["loop hello-linear"] == "CUDA out of memory."


def test_the_models_of_the_steps_are_gone_before_the_loops_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        pass

    left: list[weakref.ref[Model]] = []

    def in_a_circle(*arguments: Any) -> Measured:
        model: Any = Model()
        model.trainer = model  # as a Trainer and its module hold each other
        left.append(weakref.ref(model))
        return measured(*arguments)

    def overhead(*_: object) -> Kernel:
        assert left[0]() is None
        return result().kernels[0]

    monkeypatch.setattr(benchmark, "measure_recipe", in_a_circle)
    monkeypatch.setattr(benchmark, "loop_overhead", overhead)
    gc.disable()
    try:
        assert len(benchmark.run(["hello-linear"], [], Budget(5)).kernels) == len(result().kernels) + 2
    finally:
        gc.enable()


def test_few_steps_in_the_recipe_do_not_end_the_overhead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure_recipe", measured)
    settings = ["trainer.max_steps=4", "trainer.batch_size=64"]
    found = benchmark.run(["hello-linear"], settings, Budget(6))
    assert "loop hello-linear" in {kernel.name for kernel in found.kernels}


def test_a_kernel_that_fails_loses_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "measure", fail)
    monkeypatch.setattr(attention_adamw, "measure", fail)
    budget = Budget(1)
    found = sweep.measure_kernels(CPU, Limits.of(CPU), budget)
    assert {kernel.group for kernel in found} == {"matmul"}
    assert {"memory bandwidth", "attention MiniLM", "optimizer AdamW"} <= {item.name for item in budget.skipped}
