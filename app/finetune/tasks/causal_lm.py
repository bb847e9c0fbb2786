"""causal-lm: any causal language model of transformers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import IGNORE_INDEX, Batch
from app.data.text.vocabulary import load_vocabulary
from app.finetune.generation.sampling import window
from app.finetune.tasks.base import Forward
from app.finetune.tasks.language import LanguageTask
from app.models import causal_lm
from app.models.adapters import merge_adapters
from app.models.pretrained import max_positions
from app.models.self_test import check_ids
from app.schema import CausalLanguageModel


class CausalLMTask(LanguageTask[CausalLanguageModel]):
    """Next-token prediction with a model that is theirs; the loss is ours, so that it is a sum over what counts."""

    def __init__(self, recipe: CausalLanguageModel) -> None:
        super().__init__(recipe)
        self.loaded: Any = None

    @cached_property
    def config(self) -> Any:
        """transformers' configuration of the model."""
        return self.loaded or causal_lm.build_config(self.recipe.model)

    def context(self) -> int | None:
        return max_positions(self.config)

    def check_vocabulary(self, largest: int) -> None:
        if self.loaded or self.recipe.model.pretrained:  # otherwise the model is made for the vocabulary
            check_ids(self.config, largest)

    def own_tokenizer(self) -> str | None:
        return self.recipe.model.name

    def model(self) -> nn.Module:
        return causal_lm.build_causal_lm(self.recipe.model, self.config, len(self.vocabulary), self.vocabulary.end)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        assert batch.labels is not None
        logits = self.logits(forward, batch).float().flatten(0, 1)
        return F.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")

    def logits(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(input_ids=batch.inputs["ids"], use_cache=False).logits
        return logits

    def reader(self, model: nn.Module) -> TransformersReader:
        return TransformersReader(model)

    def save(self, model: nn.Module, folder: Path) -> None:
        merge_adapters(model).save_pretrained(folder, safe_serialization=True)
        self.vocabulary.save(folder)

    def load(self, folder: Path) -> nn.Module:
        model: Any = causal_lm.load_causal_lm(folder)
        self.loaded, self.known = model.config, load_vocabulary(folder)
        return model  # type: ignore[no-any-return]

    def flops(self, model: nn.Module, batch: Batch) -> float:
        """As for every task, and 12 L C T a token for attention (Chowdhery et al. 2022, appendix B)."""
        layers, width = (float(getattr(self.config, name, 0)) for name in ("num_hidden_layers", "hidden_size"))
        length: int = batch.inputs["ids"].shape[1]
        return super().flops(model, batch) + 12.0 * layers * width * length * batch.useful


class TransformersReader:
    """A model of transformers with its own cache of keys and values."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.eval()
        self.past: Any = None
        self.begin = self.end = 0
        """Places in the text of what the cache holds."""

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits (B, V) of the token after ids (B, n)."""
        length, limit = ids.shape[1], max_positions(self.model.config)
        begin = length - (window(length, limit) if limit else length)
        if begin != self.begin:
            self.past, self.begin, self.end = None, begin, begin
        new = ids[:, self.end :].to(self.model.device)
        said = self.model(input_ids=new, past_key_values=self.past, use_cache=True)
        self.past, self.end = said.past_key_values, length
        logits: Tensor = said.logits[:, -1]
        return logits
