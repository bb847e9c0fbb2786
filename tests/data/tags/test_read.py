"""Sentences as JSONL: tokens with tags, or tokens only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.data.tags.read import Keys, read_tagged, read_untagged
from app.errors import DataError


def written(folder: Path, text: str, name: str = "some.jsonl") -> str:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return str(path)


def test_tokens_and_tags_are_read_into_iob2(tmp_path: Path) -> None:
    name = written(
        tmp_path, '{"tokens": ["Ada", "wrote"], "tags": ["S-PER", "O"], "id": 7}\n\n{"tokens": ["Hi"], "tags": ["O"]}\n'
    )
    found = read_tagged(name)
    assert [(s.tokens, s.tags, s.lines) for s in found] == [
        (["Ada", "wrote"], ["B-PER", "O"], [1, 1]),
        (["Hi"], ["O"], [3]),
    ]


@pytest.mark.parametrize("name", ["rows.JSONL", "rows.ndjson", "rows.json"])
def test_a_suffix_that_stands_for_json_is_never_columns(tmp_path: Path, name: str) -> None:
    rows = [{"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}, {"tokens": ["Hi"], "tags": ["O"]}]
    text = json.dumps(rows) if name == "rows.json" else "".join(json.dumps(row) + "\n" for row in rows)
    assert [s.tokens for s in read_tagged(written(tmp_path, text, name))] == [["Ada", "wrote"], ["Hi"]]


def test_keys_can_have_other_names(tmp_path: Path) -> None:
    name = written(tmp_path, '{"words": ["Ada"], "ner": ["B-PER"]}\n')
    assert read_tagged(name, Keys("words", "ner"))[0].tokens == ["Ada"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"tokens": ["a", "b"], "tags": ["O"]}', "2 tokens and 1 tags"),
        ('{"tokens": [], "tags": []}', "the sentence is empty"),
        ('{"tokens": "a b", "tags": ["O"]}', "'tokens' is not a list of strings"),
        ('{"tokens": ["a"], "tags": [0]}', "'tags' is not a list of strings"),
        ('{"tokens": ["a"]}', "no 'tags': the keys are tokens"),
        ("{}", "no 'tokens': the keys are none"),
        ('{"tokens": [" "], "tags": ["O"]}', "'tokens' holds an empty string"),
        ('{"tokens": ["\\ud800"], "tags": ["O"]}', "'tokens' holds half of a surrogate pair"),
        ('{"tokens": ["a"], "tags": ["PER"]}', "'PER' is not a tag"),
        ("[1]", "not a JSON object"),
        ('{"tokens": ', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_an_unreadable_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    name = written(tmp_path, '{"tokens": ["a"], "tags": ["O"]}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_tagged(name)
    assert f"some.jsonl:2: {complaint}" in str(caught.value)


def test_tokens_without_tags_are_read_from_jsonl_or_plain_lines(tmp_path: Path) -> None:
    assert read_untagged(written(tmp_path, '{"tokens": ["New York", "!"]}\n'))[0] == [["New York", "!"]]
    sentences, lines = read_untagged(written(tmp_path, "Ada wrote .\n\n Hi\n", "some.txt"))
    assert (sentences, lines.full, lines.empty) == ([["Ada", "wrote", "."], ["Hi"]], [1, 3], [2])


def test_nothing_to_tag_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to tag"):
        read_untagged(written(tmp_path, "\n \n", "some.txt"))


KEYS = st.sampled_from(["tokens", "tags", "x"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["tokens", "tags", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


READERS: list[Callable[[str], Any]] = [read_tagged, lambda name: read_untagged(name)[0]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(JSON.map(json.dumps), st.text(max_size=20)), max_size=4))
def test_any_file_is_read_or_refused(tmp_path: Path, lines: list[str]) -> None:
    name = written(tmp_path, "\n".join(lines))
    for read in READERS:
        try:
            found = read(name)
        except DataError:
            continue
        assert found
