"""`train --dry` says what a training would cost, and its figures are those of the training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app import cli
from app.config import load
from app.finetune import estimate
from app.finetune.session import prepare
from app.finetune.tasks.base import FlopCounter


def test_it_prints_recipe_parameters_flops_and_memory_and_writes_nothing(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "sentiment", *small, "--dry", "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    for part in ("max_epochs: 12", "parameters:", "trained", "FLOPs per step:", "memory expected:"):
        assert part in shown
    assert not (tmp_path / "runs").exists()


def test_parameters_count_the_whole_table_and_what_is_frozen(
    small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "sentiment", *small, "model.freeze.layers=2", "--dry", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    from transformers import AutoModelForSequenceClassification

    whole = AutoModelForSequenceClassification.from_pretrained(small[0].partition("=")[2])
    assert plan["parameters"] == sum(p.numel() for p in whole.parameters())
    assert plan["trainable"] == sum(
        p.numel() for p in (*whole.bert.pooler.parameters(), *whole.classifier.parameters())
    )


def test_flops_are_six_for_each_weight_of_a_linear_model_and_point() -> None:
    plan = estimate.plan_of(prepare(load("hello-linear")))
    assert plan.flops_a_step == 6 * 4 * 1000
    assert (plan.parameters, plan.trainable, plan.steps) == (4, 4, 100)
    assert plan.gradients_bytes == 16 and plan.optimizer_bytes == 0


def test_frozen_weights_cost_less_than_trained_ones(small: list[str]) -> None:
    """2 a weight forward; 2 backward from the first trained one on, and 2 for each trained one."""
    frozen, lora, whole = (
        prepare(load("sentiment", [*small, *extra]))
        for extra in (["model.freeze.layers=2"], ["model.lora.rank=2", "model.lora.targets=[query]"], [])
    )
    batch = whole.splits.train[np.arange(4)]
    attention = 12 * 2 * 32 * batch.useful**2 / 4
    layers = sum(p.numel() for name, p in whole.model.named_parameters() if ".layer." in name)
    head = sum(p.numel() for name, p in whole.model.named_parameters() if "pooler" in name or "classifier" in name)
    norm = 2 * 32  # of the embeddings
    found = {key: FlopCounter(s.task, s.model)(batch) - attention for key, s in zip("flw", (frozen, lora, whole))}
    assert found["w"] == batch.useful * 6 * (layers + head + norm)
    assert found["f"] == batch.useful * (2 * (layers + norm) + 6 * head)
    ours = sum(p.numel() for name, p in lora.model.named_parameters() if "lora" in name)
    pooler = head - 2 * 32 - 2  # peft trains a copy of the classifier, next to the original
    assert found["l"] == pytest.approx(batch.useful * (4 * (layers + pooler) + 6 * (ours + 66)), rel=0.05)


def test_flops_follow_gradual_unfreezing(small: list[str]) -> None:
    """Below the head everything costs only its forward pass at first; in the end all costs what it always does."""
    whole, gradual = (prepare(load("sentiment", [*small, *more])) for more in ([], ["model.freeze.gradual=1"]))
    batch = whole.splits.train[np.arange(4)]
    flops, unfreezing = gradual.step.flops, gradual.step.unfreezing
    assert unfreezing is not None
    everything = FlopCounter(whole.task, whole.model)(batch)
    assert flops(batch) == everything
    unfreezing.apply(0)
    layers = sum(p.numel() for name, p in whole.model.named_parameters() if ".layer." in name)
    norm = 2 * 32  # of the embeddings
    assert flops(batch) == everything - batch.useful * 4 * (layers + norm)
    unfreezing.apply(9)
    assert flops(batch) == everything


def test_optimizer_bytes_are_what_adam_allocates(small: list[str]) -> None:
    session = prepare(load("sentiment", small))
    plan = estimate.plan_of(session)
    optimizer = session.step.optimizer
    loss = session.task.loss(session.model, next(iter(session.train_loader)))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    states = [v for state in optimizer.state.values() for k, v in state.items() if k != "step"]
    held = sum(v.numel() * v.element_size() for v in states)
    assert plan.optimizer_bytes == pytest.approx(held, rel=0.01)
    gradients = [p.grad for p in session.model.parameters() if p.grad is not None]
    assert plan.gradients_bytes == sum(g.numel() * g.element_size() for g in gradients)


def test_activations_of_one_layer_are_its_input_and_what_follows() -> None:
    session = prepare(load("hello-linear", ["data.features=8", "data.examples=100", "trainer.batch_size=100"]))
    batch = next(iter(session.train_loader))
    # The linear map keeps its input (100 x 8), the square keeps the difference (100 x 1).
    assert estimate.kept_for_backward(session, batch) == 4 * (800 + 100)
