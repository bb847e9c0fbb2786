"""How many parameters a model has, and how many of them are trained."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from app.models.trimmed_embedding import TrimmedEmbedding


class ParameterCounts(NamedTuple):
    """Numbers of parameters of a model."""

    total: int
    """All of them, with the rows that a trimmed embedding holds as constants."""
    trainable: int


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Return the number of parameters of a model; a shared one counts once."""
    constant = sum(m.table.numel() - m.weight.numel() for m in model.modules() if isinstance(m, TrimmedEmbedding))
    total = sum(p.numel() for p in model.parameters())
    return ParameterCounts(total + constant, sum(p.numel() for p in model.parameters() if p.requires_grad))
