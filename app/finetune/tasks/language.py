"""Language modelling: what our own GPT and the causal models of transformers share.

An example is a window of a stream of tokens, and its labels are the tokens that follow.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import IGNORE_INDEX, Batch, DataSet
from app.data.text.corpus import Corpus, find_corpora, find_corpus
from app.data.text.packing import Windows, pack
from app.data.text.vocabulary import Vocabulary, learn_vocabulary, load_vocabulary
from app.errors import ConfigError, DataError, ModelError, Problem
from app.finetune.generation.readers import Reader
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, Task, mean_loss
from app.models.fetch import tokenizer_folder
from app.schema import CausalLanguageModel, LanguageModel

R = TypeVar("R", bound=Union[LanguageModel, CausalLanguageModel])


class LanguageTask(Task[R]):
    """Predicts every next token. Scores: the mean loss of a token, in nats, and perplexity, its exponential."""

    unit = "windows"
    limits_evaluation = True

    def __init__(self, recipe: R) -> None:
        super().__init__(recipe)
        self.known: Vocabulary | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer: that of a loaded model, else the one that the recipe names."""
        if self.known is None:
            self.known = self._vocabulary()
        return self.known

    def data(self, split: Split) -> Windows | None:
        """Return a text as windows of equal length; only those of train may overlap.

        Raises ConfigError if the model cannot read windows of that length.
        """
        text = self._corpora().get(split)
        if text is None:
            return None
        data, context = self.recipe.data, self.context()
        length = data.length or context
        if length is None:
            raise ConfigError(Problem("data.length: the model itself sets no limit", "say data.length=1024"))
        if context is not None and length > context:
            what = f"data.length={length} is more than the {context} tokens that the model can read"
            raise ConfigError(Problem(what, f"say data.length={context} or less"))
        try:
            vocabulary = self.vocabulary
        except DataError:
            text.documents()  # report this text's errors too when the training text is bad
            raise
        windows = pack(text, vocabulary, length, data.stride if split == "train" else None)
        self.check_vocabulary(int(windows.stream.max()))
        return windows

    def check_vocabulary(self, largest: int) -> None:
        """Raise ModelError if pretrained weights have no embedding for token id `largest`."""

    @abstractmethod
    def context(self) -> int | None:
        """Return the longest sequence that the model can read; None without a limit."""

    @abstractmethod
    def own_tokenizer(self) -> str | None:
        """Return the folder or hub id of the tokenizer that comes with the model; None without one."""

    @abstractmethod
    def logits(self, forward: Forward, batch: Batch) -> Tensor:
        """Return logits (B, T, V) for a batch of windows."""

    @abstractmethod
    def reader(self, model: nn.Module) -> Reader:
        """Return the model with its cache, for `sampling.continuations`."""

    def weight(self, batch: Batch) -> int:
        """Return how many tokens count. In the last window of a text, those in no other window."""
        return batch.useful

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        """Return the summed loss of each window; its weight is how many of its tokens count."""
        assert batch.labels is not None
        # Row by row: a float32 copy of all the logits would be the largest tensor of the evaluation, 5 GB for GPT-2.
        pairs = zip(self.logits(forward, batch), batch.labels)
        losses = [
            F.cross_entropy(row.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum") for row, labels in pairs
        ]
        rows = zip(batch.index.tolist(), torch.stack(losses).tolist(), batch.labels.ne(IGNORE_INDEX).sum(1).tolist())
        return [Prediction(index, loss, count) for index, loss, count in rows]

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        loss = mean_loss(predictions)
        return Scores({"loss": loss, "perplexity": math.exp(min(loss, 700.0))})  # e^710 is more than a float holds

    def predict_dataset(self, name: str | None) -> DataSet:
        what = "a language model continues texts, it does not label them"
        raise ConfigError(Problem(what, "use `app generate RUN --prompt TEXT`"))

    def _corpora(self) -> dict[str, Corpus]:
        """Return the text of each split that the recipe names."""
        data = self.recipe.data
        return find_corpora(data.train, data.dev, data.test, data.text)

    def _vocabulary(self) -> Vocabulary:
        model, data = self.recipe.model, self.recipe.data
        own, kind = self.own_tokenizer(), model.tokenizer
        if kind == "auto":
            kind = own or "bpe"
        elif model.pretrained and own:
            what = f"model.tokenizer={kind}, but the weights of {own} know the tokens of its own tokenizer alone"
            raise ModelError(Problem(what, "leave out model.tokenizer, or say model.pretrained=false"))
        if kind == "characters":  # of all splits: building the alphabet leaks nothing that the model can train on
            names = dict.fromkeys(name for name in (data.train, data.dev, data.test) if name)
            return learn_vocabulary(kind, 0, [find_corpus(name, data.text) for name in names])
        if kind == "bpe":
            return learn_vocabulary(kind, model.vocab_size, [self._corpora()["train"]])
        return load_vocabulary(tokenizer_folder(kind, model.revision if kind == own else None))
