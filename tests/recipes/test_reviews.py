"""The shipped reviews are as their README says: balanced, varied, and without near-copies between splits."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "app" / "recipes" / "data" / "reviews"
SIZES = {"train": 760, "dev": 160, "test": 160}


def rows(split: str) -> list[tuple[str, ...]]:
    lines = (FOLDER / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")) for line in lines]


def every_text() -> list[str]:
    return [row[0] for split in SIZES for row in rows(split)]


@pytest.mark.parametrize("split", SIZES)
def test_every_row_is_a_text_and_one_of_two_labels(split: str) -> None:
    for row in rows(split):
        assert len(row) == 2, row
        text, label = row
        assert text == " ".join(text.split()), f"stray white space in {text!r}"
        assert label in {"negative", "positive"}


@pytest.mark.parametrize(("split", "size"), SIZES.items())
def test_each_split_has_its_size_and_is_half_positive(split: str, size: int) -> None:
    assert Counter(label for _, label in rows(split)) == {"negative": size // 2, "positive": size // 2}


@pytest.mark.parametrize("split", SIZES)
def test_the_order_of_rows_does_not_reveal_the_label(split: str) -> None:
    labels = [label for _, label in rows(split)]
    changes = sum(first != second for first, second in zip(labels, labels[1:]))
    assert 0.4 < changes / len(labels) < 0.6  # in a random order, the label changes at every second row


def test_no_two_reviews_are_similar() -> None:
    texts = every_text()
    words = [frozenset(re.findall(r"[a-z']+", text.lower())) for text in texts]
    similar = [
        (texts[i], texts[j])
        for (i, first), (j, second) in combinations(enumerate(words), 2)
        if len(first & second) >= 0.6 * len(first | second)
    ]
    assert not similar


def test_reviews_have_many_lengths() -> None:
    lengths = sorted(len(text.split()) for text in every_text())
    assert lengths[0] >= 3
    assert lengths[-1] <= 45
    assert lengths[len(lengths) // 10] <= 8
    assert lengths[-(len(lengths) // 10)] >= 17


def test_length_does_not_reveal_the_label() -> None:
    mean = {
        wanted: sum(len(text.split()) for text, label in rows("train") if label == wanted) / (SIZES["train"] // 2)
        for wanted in ("negative", "positive")
    }
    assert abs(mean["negative"] - mean["positive"]) < 1.5
