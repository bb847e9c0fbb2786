"""Parameters are counted once, and the constants of a trimmed embedding count as parameters."""

from __future__ import annotations

import torch
from torch import nn

from app.models.counts import count_parameters
from app.models.trimmed_embedding import TrimmedEmbedding


def test_frozen_and_shared_parameters_count_once_in_the_total() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    model[0].bias.requires_grad = False
    assert count_parameters(model) == (9 + 3, 9)


def test_the_constant_rows_of_a_trimmed_embedding_are_part_of_the_total() -> None:
    trimmed = TrimmedEmbedding(nn.Embedding(10, 4), torch.tensor([1, 5, 6]))
    counts = count_parameters(nn.Sequential(trimmed, nn.Linear(4, 1, bias=False)))
    assert (counts.total, counts.trainable) == (10 * 4 + 4, 3 * 4 + 4)
