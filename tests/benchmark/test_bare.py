"""The bare loop makes the very steps that Lightning's Trainer makes."""

from __future__ import annotations

import torch

from app.benchmark.bare import BareLoop, typical
from app.config import load
from app.data.batch import Batch
from app.finetune.session import prepare

CPU = torch.device("cpu")
SETTINGS = ["trainer.batch_size=50", "trainer.max_steps=6", "trainer.max_epochs=5", "trainer.precision=fp32"]


def weights(settings: list[str], bare: bool) -> list[torch.Tensor]:
    recipe = load("hello-linear", [*SETTINGS, *settings])
    session = prepare(recipe)
    if bare:
        loop = BareLoop.alone(session, CPU)
        batches = iter(session.train_loader)
        for _ in range(6):
            loop.step([next(batches) for _ in range(recipe.trainer.accumulate)])
    else:
        session.trainer.callbacks.clear()  # no progress bar
        session.trainer.fit(session.module, session.train_loader)
    return [parameter.detach().clone() for parameter in session.model.parameters()]


def test_steps_are_lightnings_bit_for_bit() -> None:
    settings = ["trainer.accumulate=3", "trainer.clip=0.5"]
    for ours, theirs in zip(weights(settings, bare=True), weights(settings, bare=False)):
        assert torch.equal(ours, theirs)


def test_a_step_moves_the_weights_and_leaves_no_gradient() -> None:
    session = prepare(load("hello-linear", SETTINGS))
    loop = BareLoop.alone(session, CPU)
    before = [parameter.detach().clone() for parameter in session.model.parameters()]
    loop.step([next(iter(session.train_loader))])
    assert not any(torch.equal(old, new) for old, new in zip(before, session.model.parameters()))
    assert all(parameter.grad is None for parameter in session.model.parameters())


def test_the_loss_is_the_mean_and_moves_nothing() -> None:
    session = prepare(load("hello-linear", SETTINGS))
    loop = BareLoop.alone(session, CPU)
    batch = next(iter(session.train_loader))
    with torch.no_grad():
        loss = session.task.loss(session.model, batch)
    assert abs(loop.loss([batch]) - float(loss.total) / loss.weight) < 1e-6
    assert loop.loss([batch]) == loop.loss([batch])
    assert session.model.training


def test_the_typical_batch_is_the_median_one() -> None:
    batches = [Batch(inputs={}, index=torch.zeros(1), padded=size) for size in (9, 1, 5, 7, 3)]
    assert [batch.padded for batch in typical(batches, 1)] == [5]
    assert [batch.padded for batch in typical(batches, 3)] == [3, 5, 7]
    assert len(typical(batches, 9)) == 5
