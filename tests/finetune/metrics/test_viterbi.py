"""Viterbi over IOB2: the best of all well-formed sequences, compared with trying every one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from app.finetune.metrics.viterbi import best_tags, follows

NAMES = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def well_formed(tags: tuple[int, ...]) -> bool:
    names = [NAMES[i] for i in tags]
    return all(tag[0] != "I" or before[1:] == tag[1:] for before, tag in zip(["O", *names], names))


def test_what_may_follow_what() -> None:
    allowed = follows(NAMES)
    assert allowed[0].tolist() == [True, True, False, True, False]
    assert allowed[1].tolist() == allowed[2].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_what_trying_everything_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    sentences = [random.normal(size=(length, len(NAMES))).astype(np.float32) for length in (3, 1, 5, 3, 2)]
    for scores, found in zip(sentences, best_tags(sentences, NAMES)):
        every = [path for path in product(range(len(NAMES)), repeat=len(scores)) if well_formed(path)]
        best = max(every, key=lambda path: sum(scores[i, tag] for i, tag in enumerate(path)))
        assert tuple(found) == best


def test_a_better_word_is_given_up_for_a_better_whole() -> None:
    scores = np.log(np.array([[0.6, 0.4, 0.0, 0.0, 0.0], [0.1, 0.0, 0.9, 0.0, 0.0]]) + 1e-9).astype(np.float32)
    assert best_tags([scores], NAMES) == [[1, 2]]  # word by word it would be O, I-X


def test_many_sentences_keep_their_order() -> None:
    lengths = [7 - i % 7 for i in range(1100)]
    scores = []
    for i, length in enumerate(lengths):
        rows = np.zeros((length, len(NAMES)), dtype=np.float32)
        rows[:, 1 if i % 2 else 3] = 1.0
        scores.append(rows)
    assert best_tags(scores, NAMES) == [[1 if i % 2 else 3] * length for i, length in enumerate(lengths)]


def test_no_sentences_have_no_tags() -> None:
    assert best_tags([], NAMES) == []
