"""A setting is timed only if it runs, compiles and agrees with float32's loss; each other one gives its reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.benchmark.budget import Budget
from app.benchmark.steps import grid
from app.benchmark.steps.recipe import measure_recipe
from tests.benchmark.sample_results import cpu_limits

SETTINGS = ["trainer.batch_size=64", "trainer.precision=fp32"]


def test_no_speed_is_shown_for_a_wrong_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(grid.TOLERANCE, "fp32", -1.0)
    budget = Budget(2)
    measured = measure_recipe("hello-linear", SETTINGS, cpu_limits(), budget)
    assert all(step.precision != "fp32" for step in measured.steps)
    assert any("no speed is shown" in item.reason for item in budget.skipped)


def test_a_step_that_cannot_run_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "prepare_point", out_of_memory_if(lambda precision: precision != "fp32"))
    budget = Budget(3)
    measured = measure_recipe("hello-linear", SETTINGS, cpu_limits(), budget)
    assert {step.precision for step in measured.steps} == {"fp32"} and measured.diagnosis


def test_without_float32s_loss_there_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "prepare_point", out_of_memory_if(lambda precision: precision == "fp32"))
    monkeypatch.setattr(grid, "PRECISIONS", ("fp32", "bf16"))
    monkeypatch.setattr(grid, "_is_supported", lambda *_: True)
    budget = Budget(3)
    measured = measure_recipe("hello-linear", SETTINGS, cpu_limits(), budget)
    assert measured.steps == [] and measured.diagnosis is None
    why = {item.name: item.reason for item in budget.skipped}
    assert why["hello-linear fp32 eager"] == "torch could not run it: no memory"
    assert "no loss of the eager float32 step" in why["hello-linear bf16 eager"]


def out_of_memory_if(fails: Callable[[str], bool]) -> Callable[..., grid.GridPoint]:
    """Return a `prepare_point` that has no memory for some precisions."""
    prepare_point = grid.prepare_point

    def prepare(name: str, settings: Sequence[str], *rest: Any) -> grid.GridPoint:
        if any(fails(word.partition("=")[2]) for word in settings[-2:-1]):
            raise RuntimeError("no memory\nand a page of advice")
        return prepare_point(name, settings, *rest)

    return prepare


def test_compiler_caches_are_empty_inside_and_restored_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/cache/inductor")
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    with grid.empty_compiler_caches():
        inside = os.environ["TORCHINDUCTOR_CACHE_DIR"]
        assert inside != "/cache/inductor" and not Path(inside).exists()
        assert os.environ["TRITON_CACHE_DIR"] != inside
        header = Path(inside, "header.h")
        header.parent.mkdir()
        header.touch()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/cache/inductor"
    assert "TRITON_CACHE_DIR" not in os.environ
    assert header.exists(), "inductor keeps including the header of its first compilation"
    with grid.empty_compiler_caches():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] != inside
