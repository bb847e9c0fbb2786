"""A recipe's step is timed behind its gate, and a figure that is not measured gives its reason."""

from __future__ import annotations

import pytest

from app.benchmark.budget import Budget
from app.benchmark.kernels.attention import AttentionShape
from app.benchmark.steps import recipe
from app.benchmark.steps.overhead import WITHOUT_END, loop_overhead
from app.config import load
from app.errors import ConfigError
from app.finetune.session import prepare
from tests.benchmark.sample_results import cpu_limits

SETTINGS = ["trainer.batch_size=64", "trainer.precision=fp32"]


def test_a_recipe_is_measured_in_its_precisions_and_diagnosed() -> None:
    budget = Budget(2)
    measured = recipe.measure_recipe("hello-linear", SETTINGS, cpu_limits(), budget)
    own = next(step for step in measured.steps if step.name == "hello-linear fp32 eager")
    assert own.gate.passed and own.work.flops > 0 and own.work.bytes > 0
    assert own.operators is not None and own.operators.value > 10
    assert {"time", "useful tokens", "padded tokens", "MFU of measured peak"} <= own.figures.keys()
    assert measured.loading.figures["rate"].value > 0
    assert measured.diagnosis is not None and measured.diagnosis.step == own.name
    assert any(item.name == "hello-linear tf32" and "tf32" in item.reason for item in budget.skipped)


def test_when_the_time_is_over_nothing_is_half_measured() -> None:
    budget = Budget(0.001)
    measured = recipe.measure_recipe("hello-linear", SETTINGS, cpu_limits(), budget)
    assert measured.steps == [] and measured.diagnosis is None
    assert any(item.name == "hello-linear fp32 eager" and "--budget" in item.reason for item in budget.skipped)


def test_a_misspelt_recipe_is_the_users_error() -> None:
    with pytest.raises(ConfigError, match="hello-liner"):
        recipe.measure_recipe("hello-liner", [], cpu_limits(), Budget(1))


def test_the_loops_own_cost_is_its_time_less_its_steps() -> None:
    session = prepare(load("hello-linear", [*SETTINGS, "trainer.max_steps=4", *WITHOUT_END]))
    kernel = loop_overhead(session, seconds=0.3)
    assert kernel.figures["in the loop"].value > kernel.figures["step alone"].value > 0
    assert kernel.figures["the loop's own"].n == kernel.figures["in the loop"].n >= 1


def test_batches_that_arrive_in_a_burst_count_with_their_mean() -> None:
    assert recipe.burst_means([0.0, 0.0, 0.3] * 4, workers=3) == pytest.approx([0.1] * 4)
    assert recipe.burst_means([0.1, 0.2], workers=0) == [0.1, 0.2]
    assert recipe.burst_means([0.4], workers=8) == [0.4]


def test_a_failed_count_or_timing_leaves_the_rest_of_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("an operator without a meta form")

    monkeypatch.setattr(recipe, "count_operators", fail)
    budget = Budget(2)
    measured = recipe.measure_recipe("hello-linear", SETTINGS, cpu_limits(), budget)
    assert measured.steps and all(step.operators is None and step.work.traffic is None for step in measured.steps)
    assert any("bytes of hello-linear" in item.name and "meta form" in item.reason for item in budget.skipped)
    monkeypatch.setattr(recipe, "time_steps", fail)
    assert recipe.measure_recipe("hello-linear", SETTINGS, cpu_limits(), Budget(1)).steps == []


def test_the_attention_of_a_transformer_has_the_shape_of_its_batch() -> None:
    session = prepare(load("gpt-char", ["trainer.batch_size=3", "model.layers=1", "data.length=16"]))
    attention = recipe.attention_shape(session, next(iter(session.train_loader)))
    assert attention == AttentionShape("recipe gpt-char", B=3, H=4, T=16, D=32, causal=True)
    linear = prepare(load("hello-linear", SETTINGS))
    assert recipe.attention_shape(linear, next(iter(linear.train_loader))) is None
