"""A recipe's step is timed behind its gate, and what is not timed says why."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from app.benchmark.budget import Budget
from app.benchmark.kernels.attention_adamw import Heads, optimizer
from app.benchmark.limits import Limits
from app.benchmark.steps import grid, measure
from app.benchmark.steps.figures import compile_figures, step_figures
from app.benchmark.steps.overhead import WITHOUT_END, loop_overhead
from app.benchmark.steps.peak_memory import PeakMemory
from app.benchmark.timer import Timing
from app.config import load
from app.errors import ConfigError
from app.finetune.session import prepare

CPU = torch.device("cpu")
SETTINGS = ["trainer.batch_size=64", "trainer.precision=fp32"]


def limits() -> Limits:
    return Limits(CPU, None, "a CPU", {"fp32": 1e11, "bf16": 4e11}, 2e10)


def test_a_recipe_is_measured_in_its_precisions_and_diagnosed() -> None:
    budget = Budget(2)
    found = measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), budget)
    own = next(step for step in found.steps if step.name == "hello-linear fp32 eager")
    assert own.gate.passed and own.work.flops > 0 and own.work.bytes > 0
    assert own.operators is not None and own.operators.value > 10
    assert {"time", "useful tokens", "padded tokens", "MFU of measured peak"} <= own.figures.keys()
    assert found.loading.figures["rate"].value > 0
    assert found.diagnosis is not None and found.diagnosis.step == own.name
    assert any(item.name == "hello-linear tf32" and "tf32" in item.reason for item in budget.skipped)


def test_a_loss_that_is_off_stops_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(grid.TOLERANCE, "fp32", -1.0)
    budget = Budget(2)
    found = measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), budget)
    assert all(step.precision != "fp32" for step in found.steps)
    assert any("no speed is printed" in item.reason for item in budget.skipped)


def test_where_the_time_ends_nothing_is_half_measured() -> None:
    budget = Budget(0.001)
    found = measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), budget)
    assert found.steps == [] and found.diagnosis is None
    assert any(item.name == "hello-linear fp32 eager" and "--budget" in item.reason for item in budget.skipped)


def test_compiler_caches_are_empty_inside_and_back_outside(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert header.exists(), "inductor goes on to include the header of its first compilation"
    with grid.empty_compiler_caches():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] != inside


def test_a_wrong_recipe_is_the_users_error() -> None:
    with pytest.raises(ConfigError, match="hello-liner"):
        measure.measure_recipe("hello-liner", [], CPU, limits(), Budget(1))


def test_mfu_is_useful_work_over_what_the_peak_could_do() -> None:
    figures = step_figures(Timing(0.1, 0.1, 0.1, 5), "fp32", 5e9, useful=800, padded=1000, memory=None, limits=limits())
    assert figures["MFU of measured peak"].value == pytest.approx(50.0)
    assert figures["time"].limit.value == pytest.approx(50.0)
    assert figures["useful tokens"].value == pytest.approx(8000)
    assert figures["padded tokens"].value == pytest.approx(10_000)
    assert "MFU of datasheet peak" not in figures, "a CPU has none"


def test_compiling_pays_back_only_where_it_gains() -> None:
    eager, faster, slower = (Timing(t, t, t, 5) for t in (0.10, 0.06, 0.20))
    figures = compile_figures(first_seconds=20.06, compiled=faster, eager=eager)
    assert figures["compile for one shape"].value == pytest.approx(20.0)
    assert figures["pay-back for one shape"].value == pytest.approx(500)
    assert "pay-back for one shape" not in compile_figures(20.0, slower, eager)


def test_lightnings_own_cost_is_a_difference_of_neighbours() -> None:
    session = prepare(load("hello-linear", [*SETTINGS, "trainer.max_steps=4", *WITHOUT_END]))
    found = loop_overhead(session, seconds=0.3)
    assert found.figures["in the loop"].value > found.figures["step alone"].value > 0
    assert found.figures["the loop's own"].n == found.figures["in the loop"].n >= 1


def test_peak_memory_sees_an_allocation() -> None:
    with PeakMemory(CPU) as peak:
        torch.ones(64 << 20, dtype=torch.uint8).add_(1)
    if peak.bytes is None:
        pytest.skip("this kernel does not keep a peak that can be reset")
    assert peak.bytes > 48 << 20


@pytest.mark.parametrize(
    ("loading", "step", "workers", "wait"), [(0.03, 0.1, 0, 0.03), (0.03, 0.1, 2, 0.0), (0.15, 0.1, 2, 0.05)]
)
def test_a_step_waits_for_what_its_workers_could_not_make_ready(
    loading: float, step: float, workers: int, wait: float
) -> None:
    assert measure.input_wait(loading, step, workers) == pytest.approx(wait)


def test_batches_of_a_burst_count_with_their_mean() -> None:
    assert measure.arrivals([0.0, 0.0, 0.3] * 4, workers=3) == pytest.approx([0.1] * 4)
    assert measure.arrivals([0.1, 0.2], workers=0) == [0.1, 0.2]
    assert measure.arrivals([0.4], workers=8) == [0.4]


def test_a_step_that_cannot_run_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "build_cell", broken_where(lambda precision: precision != "fp32"))
    budget = Budget(3)
    found = measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), budget)
    assert {step.precision for step in found.steps} == {"fp32"} and found.diagnosis


def test_without_float32s_loss_there_is_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "build_cell", broken_where(lambda precision: precision == "fp32"))
    monkeypatch.setattr(grid, "PRECISIONS", ("fp32", "bf16"))
    monkeypatch.setattr(grid, "_is_possible", lambda *_: True)
    budget = Budget(3)
    found = measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), budget)
    assert found.steps == [] and found.diagnosis is None
    why = {item.name: item.reason for item in budget.skipped}
    assert why["hello-linear fp32 eager"] == "torch could not run it: no memory"
    assert "no loss of the eager float32 step" in why["hello-linear bf16 eager"]


def broken_where(fails: Callable[[str], bool]) -> Callable[..., grid.Cell]:
    """`build_cell` that has no memory for some precisions."""
    build = grid.build_cell

    def broken(name: str, settings: Sequence[str], *rest: Any) -> grid.Cell:
        if any(fails(word.partition("=")[2]) for word in settings[-2:-1]):
            raise RuntimeError("no memory\nand a page of advice")
        return build(name, settings, *rest)

    return broken


def test_a_count_or_a_timing_that_fails_loses_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("an operator without a meta form")

    monkeypatch.setattr(measure, "count_traffic", fail)
    budget = Budget(2)
    found = measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), budget)
    assert found.steps and all(step.operators is None and step.work.traffic is None for step in found.steps)
    assert any("bytes of hello-linear" in item.name and "meta form" in item.reason for item in budget.skipped)
    monkeypatch.setattr(measure, "time_cells", fail)
    assert measure.measure_recipe("hello-linear", SETTINGS, CPU, limits(), Budget(1)).steps == []


def test_the_attention_of_a_transformer_is_that_of_its_batch() -> None:
    recipe = load("gpt-char", ["trainer.batch_size=3", "model.layers=1", "data.length=16"])
    session = prepare(recipe)
    heads = measure.heads_of(session, next(iter(session.train_loader)))
    assert heads == Heads("recipe gpt-char", B=3, H=4, T=16, D=32, causal=True)
    linear = prepare(load("hello-linear", SETTINGS))
    assert measure.heads_of(linear, next(iter(linear.train_loader))) is None


def test_the_packages_own_optimizer_stands_beside_torchs() -> None:
    budget = Budget(5)
    sizes = [(16, 48), (48,)]
    found = {kernel.name: kernel for kernel in optimizer("AdamW x", sizes, limits(), budget, 0.2)}
    assert {"optimizer AdamW x blocked", "optimizer AdamW x for-loop"} <= found.keys()
    assert found["optimizer AdamW x blocked"].work.bytes == 28 * (16 * 48 + 48)
