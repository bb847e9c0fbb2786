"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer as TorchOptimizer

from app import schema


def build_optimizer(model: nn.Module, settings: schema.Optimizer, matrices: Set[str] | None = None) -> TorchOptimizer:
    """Return the optimizer of a recipe over the trainable parameters, fused if torch has a fused one for their device.

    `matrices`: names of the parameters that decay; None for those of two dimensions and more.
    """
    groups = parameter_groups(model, settings.weight_decay, matrices)
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    kind = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
    parameters = [p for group in groups for p in group["params"]]
    fused = all(p.is_cuda and p.is_floating_point() for p in parameters)
    return kind(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=fused)


def matrix_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of two dimensions and more. FSDP makes all of them flat, so ask before."""
    return frozenset(name for name, parameter in model.named_parameters() if parameter.dim() >= 2)


def parameter_groups(model: nn.Module, weight_decay: float, matrices: Set[str] | None = None) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: matrices with weight decay, norms and biases without."""
    matrices = matrix_names(model) if matrices is None else matrices
    trainable = [(name in matrices, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [([p for wide, p in trainable if wide], weight_decay), ([p for wide, p in trainable if not wide], 0.0)]
    return [{"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters]


def clip_gradients(gradients: list[Tensor], most: float, sharded: bool = False) -> None:
    """Scale gradients in place so that the norm of all of them together is at most `most`.

    `sharded`: each process has a part of every gradient, so the squares are summed over the processes.
    """
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if sharded:
        squared = norm.square()
        torch.distributed.all_reduce(squared)
        norm = squared.sqrt()
    scale = (most / (norm + 1e-6)).clamp(max=1.0)
    if gradients[0].is_cuda or scale < 1:  # on a GPU, comparing would wait for it
        torch._foreach_mul_(gradients, scale)


def learning_rate_factor(settings: schema.Schedule, steps: int) -> Callable[[int], float]:
    """Return the function from an optimizer step, counted from 0, to the share of `optimizer.lr` that it uses.

    Warm-up rises in a straight line and reaches 1 at step `warmup`. Then, with t from 0 at the end of the warm-up to
    1 at the last step and f the final share: linear 1 - (1 - f) t; cosine f + (1 - f)(1 + cos pi t) / 2; exponential
    f ** t; inverse_sqrt sqrt(warmup / step).
    """
    warmup = round(settings.warmup * steps) if settings.warmup < 1 else round(settings.warmup)
    final = settings.final

    def at(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        t = min(1.0, (step - warmup) / max(1, steps - warmup))
        if settings.name == "linear":
            return 1 - (1 - final) * t
        if settings.name == "cosine":
            return final + (1 - final) * (1 + math.cos(math.pi * t)) / 2
        if settings.name == "exponential":
            return float(max(final, 1e-8) ** t)
        if settings.name == "inverse_sqrt":
            return math.sqrt(max(1, warmup) / max(1, step))
        return 1.0

    return at
