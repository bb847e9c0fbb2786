"""Running text from files: what is read, how dev is taken from train, and where a text may be cut."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.data.text import corpus as module
from app.data.text.corpus import Corpus, find_corpora, find_corpus, pieces
from app.errors import DataError


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two\tthree\nfour".encode())
    assert Corpus(path).documents() == ["one\n\n  two\tthree\nfour"]


def test_each_row_of_a_table_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text(
        "".join(json.dumps({"body": text, "id": i}) + "\n" for i, text in enumerate(["one\n two", "three"]))
    )
    assert Corpus(path, "body").documents() == ["one\n two", "three"]


@pytest.mark.parametrize("name", ["rows.JSONL", "rows.ndjson", "rows.json", "rows.CSV"])
def test_a_suffix_that_stands_for_rows_is_never_plain_text(tmp_path: Path, name: str) -> None:
    rows = pandas.DataFrame({"text": ["one", "two"]})
    if name.endswith("CSV"):
        rows.to_csv(tmp_path / name, index=False)
    else:
        rows.to_json(tmp_path / name, orient="records", lines=name != "rows.json")
    assert Corpus(tmp_path / name).documents() == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.xml", "<a>b</a>"), ("a.log", '{"text": "a"}'), ("a.page", "<!DOCTYPE html>"), ("a.gz", "x")],
)
def test_markup_and_keys_are_no_text(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=r"not a known format|markup or keys"):
        Corpus(tmp_path / name).documents()


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("empty.txt", b" \n ", "empty.txt"),
        ("latin.txt", b"good\nbad \xe9\n", "latin.txt:2"),
        ("broken.jsonl", b'{"text": "good"}\n{"text": 3}\nno\n', "broken.jsonl:2"),
    ],
)
def test_an_unreadable_line_is_named(tmp_path: Path, name: str, content: bytes, place: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        find_corpus(str(tmp_path / name)).documents()
    assert caught.value.problems[0].where.endswith(place)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8))
def test_head_and_tail_make_up_the_text(documents: list[str]) -> None:
    cut = round(sum(map(len, documents)) * (1 - module.TAIL))
    head, tail = list(module._before(documents, cut)), list(module._after(documents, cut))
    assert "".join(head) == "".join(documents)[:cut]
    assert "".join(head + tail) == "".join(documents)
    assert len(head) + len(tail) - len(documents) in (0, 1)  # at most one document is cut in two


def test_the_parts_of_a_file_have_different_digests(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("some text\n")
    assert len({Corpus(path, part=part).digest for part in ("all", "head", "tail")}) == 3
    before = Corpus(path).digest
    path.write_text("some Text\n")
    assert Corpus(path).digest != before


def test_every_split_has_its_text_and_a_missing_dev_is_the_end_of_train(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / name).write_text(name)
    train, dev, test = (str(tmp_path / name) for name in ("train", "dev", "test"))
    own = find_corpora(train, dev, test)
    assert {split: (text.path.name, text.part) for split, text in own.items()} == {
        "train": ("train", "all"),
        "dev": ("dev", "all"),
        "test": ("test", "all"),
    }
    shared = find_corpora(train, None, None)
    assert {split: (text.path.name, text.part) for split, text in shared.items()} == {
        "train": ("train", "head"),
        "dev": ("train", "tail"),
    }


def test_every_missing_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_corpora(str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path))
    assert len(caught.value.problems) == 3


@given(st.text(alphabet="ab \n", max_size=200))
def test_pieces_make_up_the_text_and_are_cut_between_words(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", 8)
        found = list(pieces(text))
    assert "".join(found) == text
    for before, after in zip(found, found[1:]):
        assert before[-1] == "\n" and not before[-2].isspace() and not after[0].isspace()


@given(st.binary(max_size=200), st.sampled_from([".txt", ".jsonl", ".tsv", ".csv"]))
@settings(deadline=None)
def test_any_bytes_give_text_or_a_data_error(content: bytes, suffix: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "text" + suffix)
        path.write_bytes(content)
        try:
            documents = Corpus(path).documents()
        except DataError as error:
            assert all(problem.where or problem.what for problem in error.problems)
        else:
            assert documents and all(document.encode() for document in documents)
