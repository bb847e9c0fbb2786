"""What a container is shown of the files that a command names."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.commands import Mount
from app.host.backends.mounts import mounts_for


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout beside a folder of data."""
    for file in ("project/train.tsv", "reviews/train.tsv", "reviews/dev set.tsv"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("good\t1\n")
    return tmp_path / "project"


@pytest.mark.parametrize(
    "words",
    [
        ["../reviews/train.tsv"],
        ["data.train=../reviews/train.tsv"],
        ["data.train=[../reviews/train.tsv,train.tsv]"],
        ["bash", "-c", "app train sentiment data.train=../reviews/train.tsv"],
        ["bash", "-c", "cat ../reviews/train.tsv;exit 7"],
        ["bash", "-c", "sort <../reviews/train.tsv|head"],
        ["an unclosed ' quotation", "data.train=../reviews/../reviews/train.tsv"],
    ],
)
def test_a_relative_name_is_found_where_the_container_looks(root: Path, words: list[str]) -> None:
    assert mounts_for(words, root) == [Mount(str(root.parent / "reviews" / "train.tsv"), "/reviews/train.tsv")]


def test_an_absolute_name_keeps_its_place(root: Path) -> None:
    file, inside = str(root.parent / "reviews" / "dev set.tsv"), str(root / "train.tsv")
    assert mounts_for([f"data.dev={file}"], root) == [Mount(file, file)]
    assert mounts_for([inside], root) == [Mount(inside, inside)], "the checkout's own is mounted elsewhere"


def test_folders_are_shown_whole(root: Path) -> None:
    assert mounts_for(["model.name=../reviews"], root) == [Mount(str(root.parent / "reviews"), "/reviews")]


@pytest.mark.parametrize(
    "word",
    [
        "train.tsv",
        "./train.tsv",
        "folder/train.tsv",
        "sentiment",
        "../reviews/tarin.tsv",
        "/etc/passwd",
        "/",
        "..",
        "/opt",
        "/tmp",
    ],
)
def test_nothing_else_is_shown(root: Path, word: str) -> None:
    assert mounts_for(["app", "train", word], root) == []


@pytest.mark.parametrize(
    "words", [["--runs", "../new/runs"], ["--runs=../new/runs"], ["bash", "-c", "x --runs ../new/runs"]]
)
def test_a_folder_to_write_into_is_writable(root: Path, words: list[str]) -> None:
    assert mounts_for(["app", "train", "sentiment", *words], root) == [
        Mount(str(root.parent / "new" / "runs"), "/new/runs", writable=True)
    ]
    assert not (root.parent / "new").exists(), "looking makes nothing"


def test_an_export_into_the_container_itself_is_refused(root: Path) -> None:
    with pytest.raises(HostError, match="name a folder in the checkout"):
        mounts_for(["app", "export", "sentiment", "../model"], root)
    assert mounts_for(["app", "export", "sentiment", "exports/model"], root) == []
