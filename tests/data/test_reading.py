"""System errors become one sentence for the user, in every reader, and several readers report together."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from PIL import Image

from app.data.files import Columns, find_file, read_plain, read_texts
from app.data.images.decode import decode_image
from app.data.images.folder import read_unlabelled
from app.data.images.sources import read_labelled
from app.data.reading import file_digest, read_all
from app.data.tags.read import read_tagged, read_untagged
from app.data.text.corpus import find_corpus
from app.data.text.encode import class_names
from app.errors import DataError, Problem

READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "texts in .tsv": ("a.tsv", lambda name: read_texts(name, Columns())),
    "texts in .csv": ("a.csv", lambda name: read_texts(name, Columns())),
    "texts in .jsonl": ("a.jsonl", lambda name: read_texts(name, Columns())),
    "classes": ("a.tsv", lambda name: class_names(name, Columns())),
    "plain texts": ("a.txt", lambda name: read_plain(name, "text")),
    "tagged columns": ("a.conll", read_tagged),
    "tagged .jsonl": ("a.jsonl", read_tagged),
    "untagged": ("a.txt", read_untagged),
    "running text": ("a.txt", lambda name: find_corpus(name).documents()),
    "a text's digest": ("a.txt", lambda name: find_corpus(name).digest),
    "a file's digest": ("a.tsv", lambda name: file_digest(Path(name))),
    "an image": ("a.png", lambda name: read_unlabelled(name, 4, 1, ("a", "b"))),
}
REFUSALS = [
    (errno.EACCES, "cannot be read: Permission denied", "chmod u+rX"),
    (errno.EISDIR, "cannot be read: Is a directory", "name a file in"),
    (errno.ENOENT, "cannot be read: No such file or directory", "put it back"),
    (errno.EIO, "cannot be read: Input/output error", "check the disk"),
]


def refusing(number: int) -> Callable[..., Any]:
    def refuse(path: Path, *_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    return refuse


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("number", "what", "fix"), REFUSALS)
def test_a_file_that_cannot_be_opened_is_named_with_a_fix(
    reader: str, number: int, what: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, read = READERS[reader]
    path = tmp_path / file
    path.write_text("good film\tpositive\n")
    monkeypatch.setattr(Path, "open", refusing(number))
    with pytest.raises(DataError) as caught:
        read(str(path))
    (problem,) = caught.value.problems
    assert (problem.where, what in problem.what, fix in problem.fix) == (str(path), True, True)


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_instead_of_a_file_is_named(reader: str, tmp_path: Path) -> None:
    file, read = READERS[reader]
    (tmp_path / file).mkdir()
    with pytest.raises(DataError) as caught:
        read(str(tmp_path / file))
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize(("name", "what"), [("~no-such-user-here/a.tsv", "no such file"), ("n" * 5000, "too long")])
@pytest.mark.parametrize(
    "read", [find_file, lambda name: read_labelled(name, 4, 1), lambda name: read_unlabelled(name, 4, 1, ())]
)
def test_a_name_that_the_system_refuses_is_a_data_error(read: Callable[[str], Any], name: str, what: str) -> None:
    with pytest.raises(DataError, match=what):
        read(name)


def test_a_file_in_a_folder_without_permission_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", refusing(errno.EACCES))
    with pytest.raises(DataError, match="Permission denied"):
        find_file(str(tmp_path / "a.tsv"))


def test_an_image_deleted_before_decoding_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        decode_image(tmp_path / "gone.png", 4, 1)


def test_a_class_folder_without_permission_is_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "set" / name / "deeper").mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / name / "deeper" / "0.png")
    closed, scandir = str(tmp_path / "set" / "dog" / "deeper"), os.scandir

    def guarded(path: Any) -> Any:
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError) as caught:
        read_labelled(str(tmp_path / "set"), 4, 1)
    assert [problem.where for problem in caught.value.problems] == [closed]


TWICE = Problem("reported once", "")


def fails(*problems: Problem) -> NoReturn:
    raise DataError(*problems)


def test_read_all_returns_the_results_in_order() -> None:
    assert read_all([lambda: 2, lambda: 1]) == [2, 1]


def test_read_all_raises_the_problems_of_all_readers_each_once() -> None:
    first, last = Problem("first", ""), Problem("last", "")
    with pytest.raises(DataError) as caught:
        read_all([lambda: fails(first, TWICE), lambda: 1, lambda: fails(TWICE, last)])
    assert caught.value.problems == (first, TWICE, last)


def test_read_all_does_not_hide_a_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        read_all([lambda: fails(TWICE), lambda: 1 // 0])
