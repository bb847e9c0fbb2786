"""The task token-classification: an IOB2 tag for each word, with any token classifier of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import IGNORE_INDEX, Batch, DataSet
from app.data.tags.encode import EncodedTags, encode_tagged, encode_words, tag_names
from app.data.tags.read import Keys, read_tagged, read_untagged
from app.data.tags.schemes import OUTSIDE, spans_of
from app.errors import DataError
from app.finetune.metrics.entities import report_of
from app.finetune.metrics.viterbi import best_tags
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, mean_loss
from app.finetune.tasks.encoder import EncoderTask
from app.models import pretrained
from app.models.fetch import model_folder
from app.models.self_test import check_ids
from app.schema import TokenClassification

LEADS = tuple(step / 4 for step in range(9))  # log-odds; against one other tag, O needs a probability from 1/2 to 0.88


class TokenClassificationTask(EncoderTask[TokenClassification]):
    """Sentences of words in, well-formed IOB2 tags out; the best checkpoint has the highest entity F1 on dev."""

    monitor = "entity_f1"
    answers_each_token = True
    no_answer = {"tokens": [], "tags": [], "entities": []}
    higher_is_better = True

    def __init__(self, recipe: TokenClassification) -> None:
        super().__init__(recipe)
        self.names: list[str] = []
        self.lead = 0.0
        """The margin, in log-probability, by which O must lead to be predicted; it is in the head's bias."""

    def data(self, split: Split) -> EncodedTags | None:
        """Return a file as windows of token ids; the tags are those of the training file."""
        if (name := self.file_of(split)) is None:
            return None
        data = self.recipe.data
        keys = Keys(data.tokens, data.tags)
        try:
            self.names = self.names or tag_names(data.train, keys)
        except DataError:
            read_tagged(name, keys)  # report this file's errors too when the training file is bad
            raise
        if self.tokenizer is None:
            model = self.recipe.model
            folder = model_folder(model.name, model.revision, weights=model.pretrained)
            self.begin(pretrained.load_word_tokenizer(folder), pretrained.load_config(folder))
        encoded = encode_tagged(name, keys, self.tokenizer, self.length, self.names)
        check_ids(self.config, int(encoded.ids.flat.max(initial=0)))
        return encoded

    def model(self, train: DataSet) -> nn.Module:
        assert isinstance(train, EncodedTags)
        return self.ready(pretrained.build_token_classifier(self.recipe.model, self.names), train.ids)

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(**batch.inputs).logits
        assert batch.labels is not None
        return F.cross_entropy(
            logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )

    def weight(self, batch: Batch) -> int:
        """Return how many words have a tag to learn."""
        return batch.counted

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        """Return the log-probabilities of each window's words; `answers` decodes whole sentences."""
        assert batch.labels is not None
        log_probabilities = forward(**batch.inputs).logits.float().log_softmax(2)  # (B, T, C)
        losses = F.nll_loss(
            log_probabilities.transpose(1, 2), batch.labels, ignore_index=IGNORE_INDEX, reduction="none"
        ).sum(1)
        scores, counted = log_probabilities.cpu().numpy(), batch.labels.ne(IGNORE_INDEX).cpu().numpy()
        return [
            Prediction(index, loss, float(words.sum()), row[words])
            for index, loss, row, words in zip(batch.index.tolist(), losses.tolist(), scores, counted)
        ]

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, EncodedTags)
        report = report_of(self.truth(predictions, data), self.answers(predictions, data))
        note = f"\n\nO is the answer only if it leads by {self.lead:g}: chosen on dev." if self.lead else ""
        return Scores({"loss": mean_loss(predictions), **report.values()}, report.markdown() + note)

    def truth(self, predictions: Sequence[Prediction], data: EncodedTags) -> list[list[str]]:
        """Return the true tags of each whole sentence."""
        sentences = by_sentence(predictions, data)
        return [[self.names[i] for p in windows for i in data.truth(p.index)] for windows in sentences]

    def answers(self, predictions: Sequence[Prediction], data: EncodedTags, lead: float = 0.0) -> list[list[str]]:
        """Return the tags of each whole sentence, O only if it leads by `lead` on top of the margin in the model."""
        handicap = np.array([lead if name == OUTSIDE else 0.0 for name in self.names], dtype=np.float32)
        sentences = [np.concatenate([p.answer for p in windows]) for windows in by_sentence(predictions, data)]
        chosen = best_tags([scores - handicap for scores in sentences], self.names)
        return [[self.names[i] for i in tags] for tags in chosen]

    def calibrate(self, model: nn.Module, predictions: Sequence[Prediction], dev: DataSet) -> bool:
        """Set the margin of O that gives the highest entity F1 on dev, in the bias of the head.

        After training with cross-entropy a tagger predicts O too often: F1 is highest if an entity is predicted from a
        probability of half the best F1, not from one half (Lipton et al. 2014, theorem 1).
        """
        assert isinstance(dev, EncodedTags)
        heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == len(self.names)]
        if not heads or heads[-1].bias is None or heads[-1].bias.numel() != len(self.names):  # sharded, for example
            return False
        truth = self.truth(predictions, dev)
        scores = {lead: report_of(truth, self.answers(predictions, dev, lead)).values()["entity_f1"] for lead in LEADS}
        self.lead = max(LEADS, key=lambda lead: (scores[lead], -lead))
        with torch.no_grad():
            heads[-1].bias[self.names.index(OUTSIDE)] -= self.lead
        return self.lead > 0

    def finish(self, model: Any) -> None:
        model.config.outside_lead = self.lead

    def load(self, folder: Path) -> nn.Module:
        model = pretrained.load_token_classifier(folder)
        config: Any = model.config
        self.names = [config.id2label[i] for i in range(config.num_labels)]
        self.lead = getattr(config, "outside_lead", 0.0)
        self.begin(pretrained.load_word_tokenizer(folder), config)
        return self.checked(model)

    def predict_dataset(self, name: str | None) -> EncodedTags:
        words, source = read_untagged(name, Keys(self.recipe.data.tokens, None))
        encoded = encode_words(self.tokenizer, words, [[0] * len(w) for w in words], self.length)
        check_ids(self.config, int(encoded.ids.flat.max(initial=0)))
        return replace(encoded, source=source)

    def json_lines(self, predictions: Sequence[Prediction], data: DataSet) -> Iterator[dict[str, Any]]:
        """Yield one sentence a line: words, tags, and entities as spans of words, the end not included."""
        assert isinstance(data, EncodedTags)
        for words, tags in zip(data.words, self.answers(predictions, data)):
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


def by_sentence(predictions: Sequence[Prediction], data: EncodedTags) -> Iterator[list[Prediction]]:
    """Yield the windows of each sentence. `predictions` is in the order of the data."""
    for _, windows in groupby(predictions, key=lambda p: int(data.sentences[p.index])):
        yield list(windows)
