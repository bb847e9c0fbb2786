"""Train only the rows of an embedding table that the training data uses.

A fine-tuning corpus uses a part of a vocabulary (SST-2: 11,567 of BERT's 30,522 rows), and the table is half of a small
encoder. The gradient of the unused rows is zero in every step, so Adam leaves them unchanged; but zeroing, measuring
and updating them costs as much as for any other row. Here the unused rows are constants in a buffer and the parameter
holds only the used ones, which learns the same weights. (One difference: AdamW's weight decay no longer shrinks the
rows that never occur.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TrimmedEmbedding(nn.Embedding):
    """An embedding whose parameter holds only the used rows. V rows in the table, U used, width C."""

    row_of: Tensor
    """(V,) row of `weight` for a token id, or -1 if the id is unused."""
    table: Tensor
    """(V, C) the whole table before training."""

    def __init__(self, full: nn.Embedding, used: Tensor) -> None:
        """`used`: (U,) the used token ids, each once."""
        if full.padding_idx is not None:
            used = torch.unique(torch.cat([used, torch.tensor([full.padding_idx])]))
        super().__init__(len(used), full.embedding_dim, _weight=full.weight.detach()[used].clone())
        row_of = torch.full((full.num_embeddings,), -1)
        row_of[used] = torch.arange(len(used))
        self.padding_idx = None if full.padding_idx is None else int(row_of[full.padding_idx])
        # Not in checkpoints: both buffers follow from the data and the model.
        self.register_buffer("row_of", row_of, persistent=False)
        self.register_buffer("table", full.weight.detach(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, C). In training, every id must be a used one."""
        rows = self.row_of[ids]
        if self.training:
            return F.embedding(rows, self.weight, self.padding_idx)
        trained = F.embedding(rows.clamp(min=0), self.weight)
        return torch.where((rows >= 0)[..., None], trained, F.embedding(ids, self.table))

    def full(self) -> nn.Embedding:
        """Return an ordinary embedding with all V rows, the trained ones included."""
        weight = self.table.clone()
        weight[self.row_of >= 0] = self.weight.detach()
        padding = None if self.padding_idx is None else self.row_of.tolist().index(self.padding_idx)
        return nn.Embedding(len(weight), self.embedding_dim, padding_idx=padding, _weight=weight)


def trim_embeddings(model: Any, used: Tensor) -> None:
    """Replace the input embedding of a transformers model by a trimmed one.

    Does nothing if the embedding is frozen, if the output head shares its table, or if a module that shares it does
    more than look up rows: mBART's multiplies them by a scale.
    """
    full = model.get_input_embeddings()
    sharing = [module for module in model.modules() if getattr(module, "weight", None) is full.weight]
    plain = all(type(module) is nn.Embedding and module.max_norm is None for module in sharing)
    if plain and model.get_output_embeddings() is None and full.weight.requires_grad:
        names = (
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "decoder_start_token_id",
        )  # a model may add these itself
        own = [i for i in (getattr(model.config, name, None) for name in names) if i is not None]
        added = torch.tensor([i for i in own if 0 <= i < full.num_embeddings], dtype=torch.long)
        model.set_input_embeddings(TrimmedEmbedding(full, torch.unique(torch.cat([used, added]))))
        if any(parameter is full.weight for parameter in model.parameters()):  # a part of the model has kept the table
            model.set_input_embeddings(full)


def restore_embeddings(model: Any) -> None:
    """Undo `trim_embeddings`, keeping what was learned."""
    trimmed = model.get_input_embeddings()
    if isinstance(trimmed, TrimmedEmbedding):
        model.set_input_embeddings(trimmed.full())
