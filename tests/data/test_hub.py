"""Splits of hub data sets as files. The `datasets` library is real; only its download is replaced."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value
from datasets.exceptions import DatasetGenerationError

from app.data.files import Columns, read_texts
from app.data.tags.read import Keys, read_tagged
from app.errors import DataError

REVIEWS = Dataset.from_dict(
    {"text": ["good", "bad", "?"], "label": [1, 0, -1]},
    Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])}),
)
TAGGED = Dataset.from_dict(
    {"tokens": [["Ada", "wrote"]], "ner_tags": [[1, 0]]},
    Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=["O", "B-PER"]))}),
)
STRANGE = Dataset.from_dict(
    {
        "text": ["good"],
        "when": [datetime(2001, 2, 3)],
        "picture": [{"bytes": b"none that could be decoded", "path": None}],
        "tags": [None],
    },
    Features(
        {
            "text": Value("string"),
            "when": Value("timestamp[s]"),
            "picture": Image(),
            "tags": Sequence(ClassLabel(names=["O"])),
        }
    ),
)
Asked = list[tuple[Any, ...]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Return the list that collects the requests to the hub."""
    calls: Asked = []

    def load_dataset(name: str, config: str | None, revision: str | None, split: str) -> Dataset:
        calls.append((name, config, revision, split))
        if split == "trian":
            raise ValueError("Unknown split \"trian\". Should be one of ['train'].\nmore")
        if name == "no/where":
            raise ConnectionError("Couldn't reach the Hub")
        if split == "broken":
            raise DatasetGenerationError("An error occurred") from KeyError("no such key")
        if split == "strange":
            return STRANGE
        if split == "packed":
            raise ImportError("install zstandard")
        return TAGGED if "ner" in name else REVIEWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path))
    return calls


def test_class_numbers_become_class_names(asked: Asked) -> None:
    with pytest.raises(DataError, match=r"stanford_sst.*\.jsonl:3: no label under 'label'"):
        read_texts("hub:stanford/sst:train", Columns())
    path = read_texts("hub:stanford/sst:train", Columns("text", None)).path
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == [{"text": "good", "label": "pos"}, {"text": "bad", "label": "neg"}, {"text": "?"}]


def test_tag_numbers_become_tag_names(asked: Asked) -> None:
    [sentence] = read_tagged("hub:some/ner:train", Keys("tokens", "ner_tags"))
    assert (sentence.tokens, sentence.tags) == (["Ada", "wrote"], ["B-PER", "O"])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("hub:imdb:test", ("imdb", None, None, "test")),
        ("hub:a/ner:dev", ("a/ner", None, None, "dev")),
        ("hub:a/ner@v1.0:dev", ("a/ner", None, "v1.0", "dev")),
        ("hub:a/ner/en@0f3c:dev", ("a/ner", "en", "0f3c", "dev")),
    ],
)
def test_a_name_holds_data_set_config_revision_and_split(asked: Asked, name: str, call: tuple[Any, ...]) -> None:
    read_texts(name, Columns("text", None)) if "imdb" in name else read_tagged(name, Keys("tokens", "ner_tags"))
    assert asked == [call]


def test_columns_that_json_cannot_hold_are_left_out_or_become_text(asked: Asked) -> None:
    path = read_texts("hub:some/set:strange", Columns("text", None)).path
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "good", "when": "2001-02-03 00:00:00"}


def test_the_hub_is_asked_once(asked: Asked) -> None:
    for _ in range(2):
        read_tagged("hub:some/ner:train", Keys("tokens", "ner_tags"))
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("hub:imdb", "hub:imdb names no split of a hub data set"),
        ("hub:a/b/c/d:train", "names no split"),
        ("hub:imdb:trian", 'hub:imdb:trian cannot be fetched: Unknown split "trian". Should be one of'),
        ("hub:imdb:broken", "An error occurred: 'no such key'"),
        ("hub:imdb:packed", "cannot be fetched: install zstandard"),
        ("hub:no/where:train", "hub:no/where:train cannot be fetched: Couldn't reach the Hub"),
    ],
)
def test_a_failed_download_is_one_error(asked: Asked, tmp_path: Path, name: str, complaint: str) -> None:
    with pytest.raises(DataError) as caught:
        read_texts(name, Columns())
    assert complaint in str(caught.value)
    assert len(caught.value.problems) == 1
    assert not list(tmp_path.rglob("*.jsonl"))


def test_similar_names_are_two_files(asked: Asked) -> None:
    paths = {read_texts(name, Columns("text", None)).path for name in ("hub:a/b_c:train", "hub:a_b/c:train")}
    assert len(paths) == 2 and len(asked) == 2
