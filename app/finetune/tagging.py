"""A tag for each word of a sentence, by any transformers token classifier: named entities, by default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.encode_tagged import EncodedTags, encode_tagged, encode_words, tag_names
from app.data.packing import IGNORED
from app.data.tagged import Keys, read_untagged
from app.data.tags import spans_of
from app.finetune.decoding import best_tags
from app.finetune.entities import report_of
from app.finetune.task import Forward, Judged, Loss, Scores, Split, Task, weighted_loss
from app.models import pretrained
from app.models.adapters import merged
from app.models.fetch import model_folder
from app.models.trim import restore_embeddings, trim_embeddings
from app.schema import TokenClassification


class TokenClassificationTask(Task[TokenClassification]):
    """Sentences of words in, well-formed IOB2 tags out; the best checkpoint has the highest entity F1 on dev."""

    unit = "sentences"
    monitor = "entity_f1"
    higher_is_better = True

    def __init__(self, recipe: TokenClassification) -> None:
        super().__init__(recipe)
        self.names: list[str] = []
        self.tokenizer: Any = None
        self.used_ids = torch.empty(0, dtype=torch.long)

    def data(self, split: Split) -> EncodedTags | None:
        """A file as windows of token ids; the types are those of the training file."""
        data = self.recipe.data
        keys = Keys(data.tokens, data.tags)
        self.names = self.names or tag_names(data.train, keys)
        if self.tokenizer is None:
            model = self.recipe.model
            self.tokenizer = pretrained.tokenizer_for_words(model_folder(model.name, model.revision, weights=False))
        name = {"train": data.train, "dev": data.dev, "test": data.test}[split]
        if name is None:
            return None
        encoded = encode_tagged(name, keys, self.tokenizer, data.max_length, self.names)
        if split == "train":
            self.used_ids = torch.from_numpy(np.unique(encoded.ids.flat)).long()
        return encoded

    def model(self) -> nn.Module:
        model = pretrained.token_classifier(self.recipe.model, self.names)
        trim_embeddings(model, self.used_ids)
        return model

    def loss(self, forward: Forward, batch: Batch) -> Loss:
        logits: Tensor = forward(**batch.inputs).logits
        assert batch.labels is not None
        total = F.cross_entropy(
            logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return Loss(total, batch.counted)

    def judge(self, forward: Forward, batch: Batch) -> list[Judged]:
        """Log-probabilities of the words of each window; tags are chosen when a sentence is whole again."""
        assert batch.labels is not None
        log_probabilities = forward(**batch.inputs).logits.float().log_softmax(2)  # (B, T, C)
        losses = F.nll_loss(
            log_probabilities.transpose(1, 2), batch.labels, ignore_index=IGNORED, reduction="none"
        ).sum(1)
        scores, counted = log_probabilities.cpu().numpy(), batch.labels.ne(IGNORED).cpu().numpy()
        return [
            Judged(index, loss, float(words.sum()), row[words])
            for index, loss, row, words in zip(batch.index.tolist(), losses.tolist(), scores, counted)
        ]

    def score(self, judged: Sequence[Judged], data: DataSet) -> Scores:
        assert isinstance(data, EncodedTags)
        truth = [[self.names[i] for j in windows for i in data.truth(j.index)] for windows in by_sentence(judged, data)]
        report = report_of(truth, self.answers(judged, data))
        return Scores({"loss": weighted_loss(judged), **report.values()}, report.markdown())

    def answers(self, judged: Sequence[Judged], data: EncodedTags) -> list[list[str]]:
        """Tags of each whole sentence."""
        sentences = [np.concatenate([j.answer for j in windows]) for windows in by_sentence(judged, data)]
        return [[self.names[i] for i in tags] for tags in best_tags(sentences, self.names)]

    def save(self, model: nn.Module, folder: Path) -> None:
        plain = merged(model)
        restore_embeddings(plain)
        plain.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> nn.Module:
        model = pretrained.load_token_classifier(folder)
        config: Any = model.config
        self.names = [config.id2label[i] for i in range(config.num_labels)]
        self.tokenizer = pretrained.tokenizer_for_words(folder)
        return model

    def unlabelled(self, name: str | None) -> EncodedTags:
        words = read_untagged(name, Keys(self.recipe.data.tokens, None))
        return encode_words(self.tokenizer, words, [[0] * len(w) for w in words], self.recipe.data.max_length)

    def lines(self, judged: Sequence[Judged], data: DataSet) -> Iterator[dict[str, Any]]:
        """One sentence a line: its words, their tags, and the entities as spans of words, the end not included."""
        assert isinstance(data, EncodedTags)
        for words, tags in zip(data.words, self.answers(judged, data)):
            entities = [
                {
                    "type": span.kind,
                    "text": " ".join(words[span.start : span.stop]),
                    "start": span.start,
                    "stop": span.stop,
                }
                for span in spans_of(tags)
            ]
            yield {"tokens": list(words), "tags": tags, "entities": entities}


def by_sentence(judged: Sequence[Judged], data: EncodedTags) -> Iterator[list[Judged]]:
    """The windows of each sentence together; `judged` is in the order of the data."""
    for _, windows in groupby(judged, key=lambda j: int(data.sentences[j.index])):
        yield list(windows)
