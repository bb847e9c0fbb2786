"""Train only the rows of an embedding table that the training data uses.

A fine-tuning corpus uses a part of a vocabulary (SST-2: 11,567 of BERT's 30,522 rows, and the table is half of a small
encoder). The gradient of the other rows is zero in every step, so Adam leaves them where they are; but zeroing,
measuring and updating them costs as much as for the rest. Here they are constants beside a smaller table, and what is
learned is the same. (AdamW's weight decay, which would shrink even rows that are never seen, does not reach them.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TrimmedEmbedding(nn.Embedding):
    """An embedding whose parameter holds the rows in use. V rows in all, U in use, C wide."""

    place: Tensor
    """(V,) row of `weight` for an id, or -1."""
    table: Tensor
    """(V, C) the table as it was."""

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        """`used`: (U,) ids in use, without repetition."""
        if whole.padding_idx is not None:
            used = torch.unique(torch.cat([used, torch.tensor([whole.padding_idx])]))
        super().__init__(len(used), whole.embedding_dim, _weight=whole.weight.detach()[used].clone())
        place = torch.full((whole.num_embeddings,), -1)
        place[used] = torch.arange(len(used))
        self.padding_idx = None if whole.padding_idx is None else int(place[whole.padding_idx])
        self.register_buffer("place", place, persistent=False)  # both follow from the data and the model
        self.register_buffer("table", whole.weight.detach(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) to (B, T, C). In training every id is one of those in use."""
        places = self.place[ids]
        if self.training:
            return F.embedding(places, self.weight, self.padding_idx)
        trained = F.embedding(places.clamp(min=0), self.weight)
        return torch.where((places >= 0)[..., None], trained, F.embedding(ids, self.table))

    def whole(self) -> nn.Embedding:
        """The table with the trained rows put back."""
        weight = self.table.clone()
        weight[self.place >= 0] = self.weight.detach()
        padding = None if self.padding_idx is None else self.place.tolist().index(self.padding_idx)
        return nn.Embedding(len(weight), self.embedding_dim, padding_idx=padding, _weight=weight)


def trim_embeddings(model: Any, used: Tensor) -> None:
    """Replace the input embedding of a transformers model. A model whose output head shares the table is left alone."""
    whole = model.get_input_embeddings()
    if model.get_output_embeddings() is None and whole.weight.requires_grad:
        model.set_input_embeddings(TrimmedEmbedding(whole, used))


def restore_embeddings(model: Any) -> None:
    """Undo `trim_embeddings`, with what was learned."""
    trimmed = model.get_input_embeddings()
    if isinstance(trimmed, TrimmedEmbedding):
        model.set_input_embeddings(trimmed.whole())


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Parameters in all, the rows of a table that are not in use among them, and those that are trained."""
    aside = sum(m.table.numel() - m.weight.numel() for m in model.modules() if isinstance(m, TrimmedEmbedding))
    everything = sum(p.numel() for p in model.parameters())
    return everything + aside, sum(p.numel() for p in model.parameters() if p.requires_grad)
