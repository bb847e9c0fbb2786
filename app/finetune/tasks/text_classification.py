"""One label for each text, by any transformers sequence classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.data.files import Columns, read_texts
from app.data.text.encode import EncodedTexts, class_names
from app.errors import DataError
from app.finetune.tasks.base import Forward, Prediction, Scores, Split, mean_loss
from app.finetune.tasks.encoder import TextTask
from app.models import pretrained
from app.schema import TextClassification


class TextClassificationTask(TextTask[TextClassification]):
    """Texts in, classes out; the best checkpoint is the one most accurate on dev."""

    monitor = "accuracy"
    higher_is_better = True
    no_answer = {"label": None, "probabilities": None}

    def __init__(self, recipe: TextClassification) -> None:
        super().__init__(recipe)
        self.classes: list[str] = []

    def data(self, split: Split) -> EncodedTexts | None:
        """A file as token ids; the classes are those of the training file."""
        if (name := self.file_of(split)) is None:
            return None
        data = self.recipe.data
        columns = Columns(data.text, data.label)
        try:
            self.classes = self.classes or class_names(data.train, columns)
        except DataError:
            read_texts(name, columns)  # a bad training file is not to hide what is wrong with this one
            raise
        return self.encoded(name, split, self.classes)

    def model(self) -> nn.Module:
        return self.ready(pretrained.build_sequence_classifier(self.recipe.model, self.classes))

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        logits: Tensor = forward(**batch.inputs).logits
        assert batch.labels is not None
        return F.cross_entropy(logits.float(), batch.labels, reduction="sum")

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        logits = forward(**batch.inputs).logits.float()
        losses = (
            torch.zeros(len(batch)) if batch.labels is None else F.cross_entropy(logits, batch.labels, reduction="none")
        )
        rows = zip(batch.index.tolist(), losses.tolist(), logits.argmax(1).tolist(), logits.softmax(1).tolist())
        return [Prediction(index, loss, 1.0, answer, probabilities) for index, loss, answer, probabilities in rows]

    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        assert isinstance(data, EncodedTexts) and data.labels is not None
        truth = np.asarray(data.labels)[[j.index for j in predictions]]
        counts = confusion(truth, np.array([j.answer for j in predictions]), len(self.classes))
        table = per_class(counts)
        values = {
            "loss": mean_loss(predictions),
            "accuracy": accuracy(counts),
            "macro_f1": float(averages(counts)["macro"][2]),
        }
        return Scores(values, tables_of(counts, table, self.classes))

    def load(self, folder: Path) -> nn.Module:
        model = pretrained.load_classifier(folder)
        config: Any = model.config
        self.classes = [config.id2label[i] for i in range(config.num_labels)]
        self.begin(pretrained.load_tokenizer(folder), config)
        return self.checked(model)

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        probabilities = {name: round(p, 6) for name, p in zip(self.classes, prediction.detail)}
        return {"label": self.classes[prediction.answer], "probabilities": probabilities}


def confusion(truth: np.ndarray[Any, Any], answers: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any]:
    """(C, C) counts: row the true class, column the answer."""
    return np.bincount(truth * classes + answers, minlength=classes * classes).reshape(classes, classes)


def per_class(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(C, 3) precision, recall and F1 of each class; 0 where a ratio has nothing below it."""
    hits, answered, true = np.diag(counts), counts.sum(0), counts.sum(1)
    precision = np.divide(hits, answered, out=np.zeros(len(hits)), where=answered > 0)
    recall = np.divide(hits, true, out=np.zeros(len(hits)), where=true > 0)
    f1 = np.divide(2 * hits, answered + true, out=np.zeros(len(hits)), where=answered + true > 0)
    return np.stack([precision, recall, f1], axis=1)


def accuracy(counts: np.ndarray[Any, Any]) -> float:
    """The share of right answers; NaN without examples."""
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


def averages(counts: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """(3,) mean precision, recall and F1 over the classes, and weighted by how often each is true.

    Over the classes that occur in the truth or in the answers, as in scikit-learn.
    """
    table, support = per_class(counts), counts.sum(1)
    occurs = support + counts.sum(0) > 0
    if not support.sum():
        return {"macro": np.zeros(3), "weighted": np.zeros(3)}
    return {"macro": table[occurs].mean(0), "weighted": np.average(table, axis=0, weights=support)}


def tables_of(counts: np.ndarray[Any, Any], table: np.ndarray[Any, Any], classes: Sequence[str]) -> str:
    """Per-class report and confusion matrix in Markdown."""
    support = counts.sum(1)
    rows = [
        f"| {name} | {p:.3f} | {r:.3f} | {f:.3f} | {n} |"
        for name, (p, r, f), n in zip(classes, table.tolist(), support.tolist())
    ]
    rows += [
        f"| *{name}* | {p:.3f} | {r:.3f} | {f:.3f} | {support.sum()} |" for name, (p, r, f) in averages(counts).items()
    ]
    matrix = [f"| **{name}** | {' | '.join(map(str, row))} |" for name, row in zip(classes, counts.tolist())]
    return "\n".join(
        [
            "| class | precision | recall | F1 | support |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"| true \\ answered | {' | '.join(classes)} |",
            "|---" * (len(classes) + 1) + "|",
            *matrix,
        ]
    )
