"""A side's dropout is observed in the mode in which it really trains, and its observation changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.sides import ObservedLoss, observe_dropout

X = torch.ones(4, 8)


def model(p: float) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(p), nn.Linear(8, 1))


def mean_loss(net: nn.Module) -> float:
    loss: torch.Tensor = net(X).square().mean()
    return float(loss)


def test_dropout_in_training_mode_is_active() -> None:
    net = model(0.5).train()
    dropout = observe_dropout(net, lambda: mean_loss(net))
    assert (dropout.modules, dropout.p, dropout.active) == (1, [0.5], True)
    assert dropout.losses[0] != dropout.losses[1]


@pytest.mark.parametrize(("p", "training"), [(0.5, False), (0.0, True)])
def test_evaluation_mode_and_a_rate_of_zero_are_not_active(p: float, training: bool) -> None:
    net = model(p).train(training)
    dropout = observe_dropout(net, lambda: mean_loss(net))
    assert (dropout.modules, dropout.p, dropout.active) == (0, [], False)
    assert dropout.losses[0] == dropout.losses[1]


def test_equal_losses_are_not_active_whatever_the_flags_say() -> None:
    assert not observe_dropout(model(0.5).train(), lambda: 0.7).active


def trained(observe: bool) -> tuple[list[torch.Tensor], Any]:
    """Train three steps under autocast; return the weights and what was observed."""
    net = model(0.5).train()

    library: Any = torch  # which does not export autocast to mypy

    def loss() -> torch.Tensor:
        with library.autocast("cpu", torch.bfloat16):
            value: torch.Tensor = net(X).square().mean()
        return value

    observed: Any = ObservedLoss(net, loss, float) if observe else loss
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.manual_seed(1)
    for _ in range(3):
        optimizer.zero_grad()
        observed().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in net.parameters()], observed


def test_a_training_that_is_observed_ends_with_the_same_weights() -> None:
    plain, _ = trained(observe=False)
    weights, observed = trained(observe=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, weights))
    assert observed.dropout.active and observed.seconds > 0


def test_this_packages_own_training_is_observed_through_its_task() -> None:
    from app.config import load
    from app.finetune.session import prepare

    session = prepare(load("digits-cnn", ["trainer.max_steps=2", "model.dropout=0.25"]))
    task: Any = session.task
    observed = task.loss = ObservedLoss(
        session.model, task.loss, lambda loss, _, batch: float(loss) / task.weight(batch)
    )
    session.fit()
    assert observed.dropout is not None and observed.dropout.active
    assert observed.dropout.p == [0.25]
