"""The task causal-lm: any causal language model of transformers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import IGNORE_INDEX, Batch, DataSet
from app.data.text.packing import Windows
from app.data.text.vocabulary import load_vocabulary
from app.finetune.generation.readers import TransformersReader
from app.finetune.tasks.base import Forward, flops_of_attention
from app.finetune.tasks.language import LanguageTask
from app.models import causal_lm
from app.models.adapters import merge_adapters
from app.models.pretrained import max_positions
from app.models.self_test import check_ids, check_length
from app.schema import CausalLanguageModel


class CausalLMTask(LanguageTask[CausalLanguageModel]):
    """Next-token prediction with a model of transformers. The loss is computed here: theirs is a mean, not a sum."""

    def __init__(self, recipe: CausalLanguageModel) -> None:
        super().__init__(recipe)
        self.loaded: Any = None

    @cached_property
    def config(self) -> Any:
        """The model's configuration in transformers."""
        return self.loaded or causal_lm.build_config(self.recipe.model)

    def context(self) -> int | None:
        return max_positions(self.config)

    def check_vocabulary(self, largest: int) -> None:
        if self.loaded or self.recipe.model.pretrained:  # otherwise the model is made for the vocabulary
            check_ids(self.config, largest)

    def own_tokenizer(self) -> str | None:
        return self.recipe.model.name

    def model(self, train: DataSet) -> nn.Module:
        assert isinstance(train, Windows)
        built = causal_lm.build_causal_lm(self.recipe.model, self.config, len(self.vocabulary), self.vocabulary.end)
        if train.length == self.context():
            check_length(built, train.length, "length")
        return built

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

    def attention_flops(self, model: nn.Module, batch: Batch) -> float:
        return flops_of_attention(self.config, batch.inputs["ids"].shape[1]) * batch.useful
