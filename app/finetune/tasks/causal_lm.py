"""causal-lm: any causal language model of transformers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.text.packing import IGNORED
from app.data.text.vocabulary import vocabulary_in
from app.finetune.generation.sampling import window
from app.finetune.tasks.base import Forward, flops_of_attention
from app.finetune.tasks.language import LanguageTask
from app.models import causal_lm
from app.models.adapters import merged
from app.schema import CausalLanguageModel


class CausalLMTask(LanguageTask[CausalLanguageModel]):
    """Next-token prediction with a model that is theirs; the loss is ours, so that it is a sum over what counts."""

    def __init__(self, recipe: CausalLanguageModel) -> None:
        super().__init__(recipe)
        self.loaded: Any = None

    @cached_property
    def config(self) -> Any:
        """transformers' configuration of the model."""
        return self.loaded or causal_lm.configuration(self.recipe.model)

    def context(self) -> int | None:
        return causal_lm.longest(self.config)

    def own_tokenizer(self) -> str | None:
        return self.recipe.model.name

    def model(self, train: DataSet) -> nn.Module:
        return causal_lm.causal_model(self.recipe.model, self.config, len(self.vocabulary), self.vocabulary.end)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        assert batch.labels is not None
        logits = self.logits(forward, batch).float().flatten(0, 1)
        return F.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORED, reduction="sum")

    def logits(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(input_ids=batch.inputs["ids"], use_cache=False).logits
        return logits

    def reader(self, model: nn.Module) -> TransformersReader:
        return TransformersReader(model)

    def save(self, model: nn.Module, folder: Path) -> None:
        merged(model).save_pretrained(folder, safe_serialization=True)
        self.vocabulary.save(folder)

    def load(self, folder: Path) -> nn.Module:
        model: Any = causal_lm.load_causal(folder)
        self.loaded, self.known = model.config, vocabulary_in(folder)
        return model  # type: ignore[no-any-return]

    def attention_flops(self, model: nn.Module, batch: Batch) -> float:
        return flops_of_attention(self.config, batch.inputs["ids"].shape[1]) * batch.useful


class TransformersReader:
    """A model of transformers with its own cache of keys and values."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.eval()
        self.past: Any = None
        self.begin = self.end = 0
        """Places in the text of what the cache holds."""

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits (B, V) of the token after ids (B, n)."""
        length, limit = ids.shape[1], causal_lm.longest(self.model.config)
        begin = length - (window(length, limit) if limit else length)
        if begin != self.begin:
            self.past, self.begin, self.end = None, begin, begin
        new = ids[:, self.end :].to(self.model.device)
        said = self.model(input_ids=new, past_key_values=self.past, use_cache=True)
        self.past, self.end = said.past_key_values, length
        logits: Tensor = said.logits[:, -1]
        return logits
