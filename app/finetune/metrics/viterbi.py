"""Viterbi decoding: the most probable well-formed IOB2 tags.

A tagger that scores each word separately may predict I-PER after O, which is not well formed. Of all sequences in which
each I continues an entity of its type, this finds the one with the highest sum of scores (Viterbi 1967). Nothing is
learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.data.tags.schemes import OUTSIDE

Array = np.ndarray[Any, np.dtype[np.float32]]
TOGETHER = 512  # sentences of similar length decoded at once: Python loops over words, numpy over sentences


def follows(names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return (C, C): whether tag j may follow tag i in IOB2. The row of O also holds for the start of a sentence."""
    return np.array([[tag[0] != "I" or before[2:] == tag[2:] for tag in names] for before in names])


def best_tags(scores: Sequence[Array], names: Sequence[str]) -> list[list[int]]:
    """Return the class of each word of each sentence, from the log-probabilities (W, C) of its W words."""
    barred = np.where(follows(names), 0.0, -np.inf).astype(np.float32)
    found: list[list[int]] = [[] for _ in scores]
    order = sorted(range(len(scores)), key=lambda i: len(scores[i]))
    for start in range(0, len(order), TOGETHER):
        places = order[start : start + TOGETHER]
        for place, path in zip(places, _decode([scores[i] for i in places], barred, names.index(OUTSIDE))):
            found[place] = path
    return found


def _decode(scores: Sequence[Array], barred: Array, outside: int) -> list[list[int]]:
    """Decode sentences that are sorted by length: those that have ended are at the front and take no further step."""
    lengths = np.array([len(rows) for rows in scores])
    longest, classes = int(lengths[-1]), barred.shape[0]
    padded = np.zeros((len(scores), longest, classes), dtype=np.float32)
    for row, sentence in zip(padded, scores):
        row[: len(sentence)] = sentence
    best = padded[:, 0] + barred[outside]  # (N, C) score of the best path that ends in each class
    came_from = np.zeros((longest, len(scores), classes), dtype=np.int64)
    for step in range(1, longest):
        running = int(np.searchsorted(lengths, step, side="right"))  # the first that has this word
        through = best[running:, :, None] + barred  # (n, from, to)
        came_from[step, running:] = through.argmax(1)
        best[running:] = through.max(1) + padded[running:, step]
    paths = []
    for i, length in enumerate(lengths.tolist()):
        path = [int(best[i].argmax())]
        for step in range(length - 1, 0, -1):
            path.append(int(came_from[step, i, path[-1]]))
        paths.append(path[::-1])
    return paths
