"""How well a classifier did: the confusion matrix, precision, recall and F1 of each class, and both as Markdown.

scikit-learn counts. It takes 2 s to import, so it is imported when something is scored: `app predict` does without.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

Integers = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]


def confusion(truth: Integers, answers: Integers, classes: int) -> Integers:
    """Return (C, C) counts: the row is the true class, the column the answer. Both inputs are (N,) class numbers."""
    from sklearn.metrics import confusion_matrix

    if not len(truth):
        return np.zeros((classes, classes), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it takes a single class for forgotten labels
        counts: Integers = confusion_matrix(truth, answers, labels=range(classes))
    return counts


def per_class(truth: Integers, answers: Integers, classes: int) -> Floats:
    """Return (C, 3) precision, recall and F1 of each class; a ratio whose denominator is 0 is 0."""
    from sklearn.metrics import precision_recall_fscore_support

    if not len(truth):
        return np.zeros((classes, 3))
    found = precision_recall_fscore_support(truth, answers, labels=range(classes), zero_division=0)
    return np.stack(found[:3], axis=1)


def accuracy(counts: Integers) -> float:
    """Return the share of right answers in a confusion matrix (C, C); NaN without examples."""
    return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")


def averages(counts: Integers, scores: Floats) -> dict[str, Floats]:
    """Return (3,) mean precision, recall and F1: over the classes, and weighted by how often each is true.

    Only classes that occur in the truth or in the answers count, as in scikit-learn.
    """
    support = counts.sum(1)
    if not support.sum():
        return {"macro": np.zeros(3), "weighted": np.zeros(3)}
    occurs = support + counts.sum(0) > 0
    return {"macro": scores[occurs].mean(0), "weighted": np.average(scores, axis=0, weights=support)}


def tables(counts: Integers, scores: Floats, classes: Sequence[str]) -> str:
    """Return the scores of each class (C, 3), their averages, and the confusion matrix (C, C), as Markdown."""
    support = counts.sum(1)
    rows = [
        f"| {name} | {p:.3f} | {r:.3f} | {f:.3f} | {n} |"
        for name, (p, r, f), n in zip(classes, scores.tolist(), support.tolist())
    ]
    means = averages(counts, scores)
    rows += [f"| *{name}* | {p:.3f} | {r:.3f} | {f:.3f} | {support.sum()} |" for name, (p, r, f) in means.items()]
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
