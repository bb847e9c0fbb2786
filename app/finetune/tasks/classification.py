"""What the tasks with one class for each example share: predictions from logits, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from app.data.batch import Batch
from app.finetune.metrics import classes as metrics
from app.finetune.tasks.base import Prediction, Scores, mean_loss


def predict_classes(logits: Tensor, batch: Batch) -> list[Prediction]:
    """Return the likeliest class of each example, with its probabilities as the detail. Logits (B, C) in float32.

    Without labels the loss is 0.
    """
    losses = torch.zeros(len(batch))
    if batch.labels is not None:
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
    rows = zip(batch.index.tolist(), losses.tolist(), logits.argmax(1).tolist(), logits.softmax(1).tolist())
    return [Prediction(index, loss, 1.0, answer, probabilities) for index, loss, answer, probabilities in rows]


def score_classes(
    predictions: Sequence[Prediction], labels: np.ndarray[Any, np.dtype[np.int64]], classes: Sequence[str]
) -> Scores:
    """Return loss, accuracy and macro F1, with a table of each class. `labels` are those of the whole data set."""
    truth, answers = labels[[p.index for p in predictions]], np.array([p.answer for p in predictions])
    counts = metrics.confusion(truth, answers, len(classes))
    table = metrics.per_class(truth, answers, len(classes))
    values = {
        "loss": mean_loss(predictions),
        "accuracy": metrics.accuracy(counts),
        "macro_f1": float(metrics.averages(counts, table)["macro"][2]),
    }
    return Scores(values, metrics.tables(counts, table, classes))


def rounded_probabilities(prediction: Prediction, classes: Sequence[str]) -> dict[str, float]:
    """Return class to probability, to 6 decimals, for a line of JSON."""
    return {name: round(p, 6) for name, p in zip(classes, prediction.detail)}
