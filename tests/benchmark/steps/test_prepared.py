"""The benchmark times the steps that the training loop makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.benchmark.steps.prepared import PreparedStep, device_of, typical
from app.config import load
from app.data.batch import Batch
from app.finetune.session import prepare

CPU = torch.device("cpu")
SETTINGS = ["trainer.batch_size=50", "trainer.max_steps=6", "trainer.max_epochs=5", "trainer.precision=fp32"]


def weights(settings: list[str], prepared: bool) -> list[torch.Tensor]:
    recipe = load("hello-linear", [*SETTINGS, *settings])
    session = prepare(recipe)
    if prepared:
        loop = PreparedStep(session)
        batches = iter(session.train_loader)
        for _ in range(6):
            loop.step([next(batches) for _ in range(recipe.trainer.accumulate)])
    else:
        session.fit()
    return [parameter.detach().clone() for parameter in session.model.parameters()]


def test_steps_are_those_of_the_training_bit_for_bit() -> None:
    settings = ["trainer.accumulate=3", "trainer.clip=0.5"]
    for ours, theirs in zip(weights(settings, prepared=True), weights(settings, prepared=False)):
        assert torch.equal(ours, theirs)


def test_a_step_moves_the_weights_and_leaves_no_gradient() -> None:
    session = prepare(load("hello-linear", SETTINGS))
    loop = PreparedStep(session)
    before = [parameter.detach().clone() for parameter in session.model.parameters()]
    loop.step([next(iter(session.train_loader))])
    assert not any(torch.equal(old, new) for old, new in zip(before, session.model.parameters()))
    assert all(parameter.grad is None for parameter in session.model.parameters())


def test_the_loss_is_the_mean_and_moves_nothing() -> None:
    session = prepare(load("hello-linear", SETTINGS))
    loop = PreparedStep(session)
    batch = next(iter(session.train_loader))
    with torch.no_grad():
        loss = session.task.loss(session.model, batch)
    assert abs(loop.loss([batch]) - float(loss) / session.task.weight(batch)) < 1e-6
    assert loop.loss([batch]) == loop.loss([batch])
    assert session.model.training


def test_the_typical_batch_is_the_median_one() -> None:
    batches = [Batch(inputs={}, index=torch.zeros(1), padded=size) for size in (9, 1, 5, 7, 3)]
    assert [batch.padded for batch in typical(batches, 1)] == [5]
    assert [batch.padded for batch in typical(batches, 3)] == [3, 5, 7]
    assert len(typical(batches, 9)) == 5


class Scaler:
    """torch's GradScaler as far as the order of its calls goes; its factor is a power of two, so it changes no bit."""

    def __init__(self) -> None:
        self.unscaled = False

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return torch.mul(loss, 1024)

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        if self.unscaled:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        self.unscaled = True
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad.div_(1024)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        assert self.unscaled
        optimizer.step()

    def update(self) -> None:
        self.unscaled = False


@pytest.mark.parametrize("fused", [False, True])
def test_fp16s_factor_is_taken_out_once(fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with a fused optimizer, whose own step would divide by the factor after the clipping."""
    settings = [*SETTINGS, "trainer.clip=0.5"]
    found = []
    for scaler in (None, Scaler()):
        session = prepare(load("hello-linear", settings))
        loop = PreparedStep(session)
        precision: Any = session.fabric.strategy.precision
        precision.scaler = scaler
        if scaler:

            def step_and_update(optimizer: Any, scaler: Scaler = scaler) -> None:
                scaler.step(optimizer)
                scaler.update()

            def scaled(loss: torch.Tensor, _: Any, scaler: Scaler = scaler) -> None:
                torch.autograd.backward(scaler.scale(loss))

            monkeypatch.setattr(precision, "backward", scaled)
            monkeypatch.setattr(session.fabric.strategy, "optimizer_step", step_and_update)
        optimizer: Any = session.step.optimizer
        optimizer._step_supports_amp_scaling = fused
        for batch, _ in zip(session.train_loader, range(3)):
            loop.step([batch])
        found.append([parameter.detach().clone() for parameter in session.model.parameters()])
    assert all(torch.equal(plain, scaled) for plain, scaled in zip(*found))


def test_the_loss_is_that_of_the_graph_that_trains() -> None:
    """A compiler makes one graph for training and one without gradients, and only the first is ever stepped."""
    session = prepare(load("hello-linear", SETTINGS))
    loop = PreparedStep(session)
    batch = next(iter(session.train_loader))
    right = loop.loss([batch])

    def wrong_where_it_trains(**inputs: Any) -> Any:
        return session.model(**inputs) + float(torch.is_grad_enabled())

    session.step.forward = wrong_where_it_trains
    assert loop.loss([batch]) != pytest.approx(right, rel=1e-3)


def test_a_recipe_is_measured_where_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device_of(load("hello-linear")) == CPU, "its YAML says so, GPU or not"
    assert device_of(load("gpt-char")) == torch.device("cuda", 0)
