"""`app train --dry`: what a training would cost, without training.

Memory is counted: weights, gradients and optimizer states by their sizes, activations by one forward pass of the
largest batch and the tensors that autograd saves for backward.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.amp.autocast_mode import autocast

from app.config import to_yaml
from app.data.batch import Batch
from app.data.batching import BatchSampler
from app.finetune.session import Session
from app.models.counts import count_parameters

MEASURED = 256  # examples of the largest batch that really go through the model
SAMPLED = 50  # batches that stand for an epoch in its means


@dataclass(frozen=True)
class Plan:
    """The cost of a training."""

    parameters: int
    trainable: int
    steps: int
    examples_a_step: float
    tokens_a_step: float
    padding: float
    """Share of the tokens that are padding."""
    flops_a_step: float
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    """At the largest batch."""

    @property
    def memory_bytes(self) -> int:
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes + self.activations_bytes


def plan_of(session: Session) -> Plan:
    """Return the cost of a prepared training. Runs one forward pass on the CPU."""
    model, accumulate = session.model, session.recipe.trainer.accumulate
    sizes = [(p.numel(), p.element_size(), p.requires_grad) for p in model.parameters()]
    parameters, trainable = count_parameters(model)
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    gradients = sum(count * size for count, size, trained in sizes if trained)
    chosen = _chosen_batches(session)
    sampled = [session.splits.train[indices] for indices in chosen[:SAMPLED]]
    longest = max(chosen, key=lambda i: len(i) * int(session.splits.train.lengths[i].max()))
    padded = sum(batch.padded for batch in sampled)
    return Plan(
        parameters=parameters,
        trainable=trainable,
        steps=session.steps,
        examples_a_step=accumulate * sum(map(len, sampled)) / len(sampled),
        tokens_a_step=accumulate * sum(batch.useful for batch in sampled) / len(sampled),
        padding=1 - sum(batch.useful for batch in sampled) / padded if padded else 0.0,
        flops_a_step=accumulate * sum(session.task.flops(model, batch) for batch in sampled) / len(sampled),
        weights_bytes=sum(count * size for count, size, _ in sizes) + buffers,
        gradients_bytes=gradients,
        optimizer_bytes=gradients * _states(session),
        activations_bytes=activations_bytes(session, longest),
    )


def activations_bytes(session: Session, indices: np.ndarray[Any, Any]) -> int:
    """Return the bytes that a batch of these examples needs for backward.

    They grow with the number of examples, so of a large batch a part is measured.
    """
    part = session.splits.train[indices[:MEASURED]]
    return kept_for_backward(session, part) * len(indices) // len(part)


def kept_for_backward(session: Session, batch: Batch) -> int:
    """Return the bytes that autograd saves between the forward and the backward pass of a batch, without parameters."""
    parameters = {p.untyped_storage().data_ptr() for p in session.model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = (
                tensor  # held, or a freed storage's address would be counted twice
            )
        return tensor

    session.model.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        autocast("cpu", torch.bfloat16, enabled=session.precision.word in ("bf16", "fp16")),  # both take two bytes
    ):
        session.task.loss(session.model, batch)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def describe(session: Session, plan: Plan) -> str:
    """Return the plan as text."""
    gib = {name.removesuffix("_bytes"): value for name, value in asdict(plan).items() if name.endswith("_bytes")}
    parts = ", ".join(f"{name} {_readable(value)}" for name, value in gib.items())
    return "\n".join(
        [
            to_yaml(session.recipe).rstrip(),
            "",
            f"parameters: {plan.parameters:,} in all, {plan.trainable:,} trained",
            f"steps: {plan.steps:,}, each {plan.examples_a_step:,.1f} {session.task.unit} "
            f"and {plan.tokens_a_step:,.0f} tokens, {plan.padding:.1%} padding in addition",
            f"FLOPs per step: {plan.flops_a_step:.3g} in {session.precision.word}",
            f"memory expected: {_readable(plan.memory_bytes)} ({parts})",
        ]
    )


def summary(plan: Plan) -> dict[str, Any]:
    """Return the plan for a JSON object."""
    return {**asdict(plan), "memory_bytes": plan.memory_bytes}


def _chosen_batches(session: Session) -> list[np.ndarray[Any, Any]]:
    batches = session.train_loader.sampler
    assert isinstance(batches, BatchSampler)
    return list(batches)


def _states(session: Session) -> int:
    """Return how many numbers the optimizer keeps for each trained parameter."""
    settings = session.recipe.optimizer
    return (1 if settings.momentum else 0) if settings.name == "sgd" else 2


def _readable(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
