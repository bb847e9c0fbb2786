"""The task language-model (gpt-char, gpt2): our own GPT, from random weights or from OpenAI's."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.text.vocabulary import load_vocabulary
from app.errors import ModelError, Problem
from app.finetune.generation.readers import GPTReader
from app.finetune.tasks.base import Forward
from app.finetune.tasks.language import LanguageTask
from app.models.adapters import apply_adapters, merge_adapters
from app.models.fetch import model_folder
from app.models.gpt import GPT, GPTConfig
from app.models.gpt_weights import load_gpt2, read_gpt2_config, save_gpt2
from app.models.self_test import check_ids
from app.schema import LanguageModel

SMALL = {"layers": 12, "heads": 12, "width": 768, "context": 1024}  # GPT-2 small: Radford et al. 2019, table 2


class GPTTask(LanguageTask[LanguageModel]):
    """Next-token prediction. The loss is inside the model, so that torch.compile sees the whole step."""

    def __init__(self, recipe: LanguageModel) -> None:
        super().__init__(recipe)
        self.loaded: GPTConfig | None = None

    @cached_property
    def folder(self) -> Path:
        """The folder of the pretrained weights. Raises ModelError; its fix includes training without them."""
        model = self.recipe.model
        given = [name for name in SMALL if getattr(model, name) is not None]
        without = "or say model.pretrained=false, which trains the same sizes from random weights and needs no hub"
        if model.name is None:
            raise ModelError(Problem("model.pretrained=true without a model.name", f"name the weights, {without}"))
        if given:
            fix = f"leave out {', '.join(f'model.{name}' for name in given)}, {without}"
            raise ModelError(Problem("model.pretrained=true takes its sizes from the weights", fix))
        try:
            return model_folder(model.name, model.revision)
        except ModelError as error:
            first = error.problems[0]
            what = f"the weights of {model.name} are not available: {first.what}"
            raise ModelError(Problem(what, f"{first.fix}, {without}", first.where)) from error

    def context(self) -> int:
        if self.loaded:
            return self.loaded.context
        return read_gpt2_config(self.folder).context if self.recipe.model.pretrained else self._sizes()["context"]

    def check_vocabulary(self, largest: int) -> None:
        if self.loaded or self.recipe.model.pretrained:
            check_ids(self.loaded or read_gpt2_config(self.folder), largest)

    def own_tokenizer(self) -> str | None:
        return self.recipe.model.name if self.recipe.model.pretrained else None

    def model(self, train: DataSet) -> nn.Module:
        settings = self.recipe.model
        if settings.pretrained:
            return apply_adapters(load_gpt2(self.folder, settings.dropout), settings)
        config = GPTConfig(len(self.vocabulary), **self._sizes(), dropout=settings.dropout or 0.0, activation="gelu")
        return apply_adapters(GPT(config), settings)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        total: Tensor = forward(**batch.inputs, targets=batch.labels)
        return total

    def logits(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(**batch.inputs)
        return logits

    def reader(self, model: nn.Module) -> GPTReader:
        assert isinstance(model, GPT)
        return GPTReader(model)

    def save(self, model: nn.Module, folder: Path) -> None:
        save_gpt2(merge_adapters(model), folder, self.vocabulary.end)
        self.vocabulary.save(folder)

    def load(self, folder: Path) -> nn.Module:
        model = load_gpt2(folder)
        self.loaded, self.known = model.config, load_vocabulary(folder)
        return model

    def flops_per_token(self, model: nn.Module) -> float:
        """The output head multiplies by the table of tokens, which is no module: `flops_of_weights` misses it."""
        table = next(p for name, p in model.named_parameters() if name.endswith("tokens.weight"))
        per_weight = 6.0 if table.requires_grad else 4.0
        return float(super().flops_per_token(model) + per_weight * table.numel())

    def attention_flops(self, model: nn.Module, batch: Batch) -> float:
        """With nothing frozen, this and `flops_per_token` add up to those of `app.models.gpt.flops_per_token`."""
        config: Any = model.config
        sizes: int = config.layers * config.width * batch.inputs["ids"].shape[1]
        return 12.0 * sizes * batch.useful

    def _sizes(self) -> dict[str, int]:
        return {name: getattr(self.recipe.model, name) or small for name, small in SMALL.items()}
