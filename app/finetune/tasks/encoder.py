"""What the tasks on a transformers encoder share: the tokenizer, the trimmed embedding table, and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar, Union

import numpy as np
import torch
from torch import nn

from app.data.batch import Batch, DataSet
from app.data.files import Columns, read_plain
from app.data.text.encode import EncodedTexts, Ragged, encode_texts, tokenize
from app.data.text.vocabulary import forget_call_state
from app.finetune.tasks.base import Split, Task, flops_of_attention
from app.models import pretrained
from app.models.adapters import merge_adapters
from app.models.self_test import check_ids, check_length, check_padding
from app.models.trimmed_embedding import restore_embeddings, trim_embeddings
from app.schema import TextClassification, TextRegression, TokenClassification

E = TypeVar("E", bound=Union[TextClassification, TextRegression, TokenClassification])
T = TypeVar("T", bound=Union[TextClassification, TextRegression])


class EncoderTask(Task[E]):
    """A task whose model encodes a whole text at once."""

    unit = "sentences"
    answers_each_token: ClassVar[bool] = False
    """Whether the model has logits for every token, not once for a text."""

    def __init__(self, recipe: E) -> None:
        super().__init__(recipe)
        self.tokenizer: Any = None
        self.config: Any = None
        self.length = recipe.data.max_length
        """The most tokens that are read of a text."""

    def file_of(self, split: Split) -> str | None:
        """Return the file that the recipe names for a split."""
        data = self.recipe.data
        return {"train": data.train, "dev": data.dev, "test": data.test}[split]

    def begin(self, tokenizer: Any, config: Any) -> None:
        """Set the tokenizer and the maximum length: the recipe's, or what the model can read if that is less."""
        forget_call_state(tokenizer.backend_tokenizer)
        asked, most = self.recipe.data.max_length, pretrained.max_positions(config)
        self.tokenizer, self.length, self.config = tokenizer, min(asked, most or asked), config
        if tokenizer.pad_token is None:  # decoders have none; reuse the model's own, or EOS
            own = config.pad_token_id
            known = tokenizer.convert_ids_to_tokens(own) if own is not None and 0 <= own < len(tokenizer) else None
            tokenizer.pad_token = known or tokenizer.eos_token or tokenizer.unk_token
        check_ids(config, tokenizer.pad_token_id or 0)

    def checked(self, model: nn.Module) -> nn.Module:
        """Return the model with the tokenizer's padding token in its configuration.

        Raises ModelError if padding changes its answers. A decoder classifies a text by its last token that is not
        padding.
        """
        config: Any = model.config
        config.pad_token_id = self.tokenizer.pad_token_id
        if self.length == pretrained.max_positions(config):
            check_length(model, self.length)
        check_padding(model, self.tokenizer, pretrained.max_positions(config), self.answers_each_token)
        return model

    def ready(self, model: nn.Module, ids: Ragged) -> nn.Module:
        """Return a new model, checked, with its embedding table trimmed to the `ids` of training."""
        self.checked(model)
        used = np.unique(np.append(ids.flat, self.tokenizer.pad_token_id or 0))
        trim_embeddings(model, torch.from_numpy(used).long())
        return model

    def finish(self, model: Any) -> None:
        """Store what the task knows in a plain model that is about to be saved."""

    def save(self, model: nn.Module, folder: Path) -> None:
        plain = merge_adapters(model)
        restore_embeddings(plain)
        self.finish(plain)
        plain.save_pretrained(folder, safe_serialization=True)
        forget_call_state(self.tokenizer.backend_tokenizer)
        if not self.answers_each_token:
            self.tokenizer.model_max_length = self.length  # so that transformers' truncation cuts a text here, too
        self.tokenizer.save_pretrained(folder)

    def attention_flops(self, model: nn.Module, batch: Batch) -> float:
        """The texts of a batch have about one length, so their mean is used: it is known without asking the device."""
        return flops_of_attention(model.config, batch.useful / max(1, len(batch))) * batch.useful


class TextTask(EncoderTask[T]):
    """One label for each text."""

    def encoded(self, name: str, classes: list[str] | None) -> EncodedTexts:
        """Return a file as token ids with labels among `classes`, or with numbers if that is None."""
        data, model = self.recipe.data, self.recipe.model
        if self.tokenizer is None:
            self.begin(pretrained.tokenizer_of(model), pretrained.config_of(model))
        found = encode_texts(name, Columns(data.text, data.label), self.tokenizer, self.length, classes)
        check_ids(self.config, int(found.ids.flat.max(initial=0)))
        return found

    def predict_dataset(self, name: str | None) -> DataSet:
        texts, source = read_plain(name, self.recipe.data.text)
        ids = tokenize(self.tokenizer, texts, self.length)
        check_ids(self.config, int(ids.flat.max(initial=0)))
        return EncodedTexts(ids, self.tokenizer.pad_token_id or 0, "", source=source)
