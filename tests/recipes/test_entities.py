"""The shipped sentences with entities are as their README says: valid, varied, and not solvable by memorizing train."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from app.data.tags.read import read_tagged
from app.data.tags.schemes import Sentence, entity_types

FOLDER = Path(__file__).parents[2] / "app" / "recipes" / "data" / "entities"
SIZES = {"train": 279, "dev": 70, "test": 70}
KINDS = ["LOC", "ORG", "PER", "PRODUCT"]


def sentences(split: str) -> list[Sentence]:
    return read_tagged(str(FOLDER / f"{split}.conll"))


def entities(split: str) -> list[tuple[str, str]]:
    """Return the type and the words of every entity."""
    found: list[tuple[str, str]] = []
    for sentence in sentences(split):
        for token, tag in zip(sentence.tokens, sentence.tags):
            if tag.startswith("B-"):
                found.append((tag[2:], token))
            elif tag.startswith("I-"):
                kind, words = found.pop()
                found.append((kind, f"{words} {token}"))
    return found


@pytest.mark.parametrize(("split", "size"), SIZES.items())
def test_each_split_has_its_size_and_every_type(split: str, size: int) -> None:
    found = sentences(split)
    assert len(found) == size
    assert entity_types(found) == KINDS


@pytest.mark.parametrize("split", SIZES)
def test_the_files_are_already_in_iob2(split: str) -> None:
    rows = [line.split("\t") for line in (FOLDER / f"{split}.conll").read_text(encoding="utf-8").splitlines() if line]
    assert rows == [[t, g] for s in sentences(split) for t, g in zip(s.tokens, s.tags)]


def test_tokens_are_words_numbers_or_single_punctuation_marks() -> None:
    word = re.compile(r"(Dr|Mr|Mrs)\.|'s|[\w&'-]*\w|[^\w\s]")
    odd = {t for split in SIZES for s in sentences(split) for t in s.tokens if not word.fullmatch(t)}
    assert not odd


def test_no_two_sentences_are_similar() -> None:
    every = [" ".join(s.tokens) for split in SIZES for s in sentences(split)]
    words = [frozenset(re.findall(r"\w+", text.lower())) for text in every]
    similar = [
        (every[i], every[j])
        for (i, first), (j, second) in combinations(enumerate(words), 2)
        if len(first & second) >= 0.6 * len(first | second)
    ]
    assert not similar


@pytest.mark.parametrize("split", ["dev", "test"])
def test_most_entities_are_new_and_some_are_known_from_train(split: str) -> None:
    known = set(entities("train"))
    found = entities(split)
    assert 0.5 < sum(entity not in known for entity in found) / len(found) < 0.8


def test_some_sentences_have_no_entities_and_some_entities_have_several_words() -> None:
    without = sum(not entity_types([s]) for s in sentences("train"))
    assert without >= 20
    assert sum(" " in words for _, words in entities("train")) >= 150
