"""What a container is shown of the files that a command names."""

from __future__ import annotations

import os
import socket
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
        ["app", "predict", "sentiment", "../reviews/train.tsv"],
        ["app", "train", "sentiment", "data.train=../reviews/train.tsv"],
        ["app", "train", "sentiment", "data.train=[../reviews/train.tsv,train.tsv]"],
        ["app", "train", "--resume", "../reviews/train.tsv"],
        ["app", "bench", "check", "--result", "../reviews/train.tsv", "base.json"],
        ["app", "doctor", "explain", "../reviews/train.tsv"],
        ["cat", "../reviews/train.tsv"],
        ["bash", "-c", "app train sentiment data.train=../reviews/train.tsv"],
        ["bash", "-c", "cat ../reviews/train.tsv;exit 7"],
        ["bash", "-c", "sort <../reviews/train.tsv|head"],
        ["bash", "-c", "X=1 app train sentiment data.train='../reviews/../reviews/train.tsv' && true"],
    ],
)
def test_a_relative_name_is_found_where_the_container_looks(root: Path, words: list[str]) -> None:
    assert mounts_for(words, root) == [Mount(str(root.parent / "reviews" / "train.tsv"), "/reviews/train.tsv")]


def test_an_absolute_name_keeps_its_place(root: Path) -> None:
    file, inside = str(root.parent / "reviews" / "dev set.tsv"), str(root / "train.tsv")
    assert mounts_for(["app", "evaluate", "sentiment", f"data.dev={file}"], root) == [Mount(file, file)]
    assert mounts_for(["cat", inside], root) == [Mount(inside, inside)], "the checkout's own is mounted elsewhere"


def test_folders_are_shown_whole(root: Path) -> None:
    assert mounts_for(["app", "train", "sentiment", "model.name=../reviews"], root) == [
        Mount(str(root.parent / "reviews"), "/reviews")
    ]


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
    "words", [["--runs", "../new/runs"], ["--runs=../new/runs"], ["bash", "-c", "app train x --runs ../new/runs"]]
)
def test_a_folder_to_write_into_is_writable(root: Path, words: list[str]) -> None:
    words = words if words[0] == "bash" else ["app", "train", "sentiment", *words]
    assert mounts_for(words, root) == [Mount(str(root.parent / "new" / "runs"), "/new/runs", writable=True)]
    assert not (root.parent / "new").exists(), "looking makes nothing"


def test_an_export_into_the_container_itself_is_refused(root: Path) -> None:
    with pytest.raises(HostError, match="name a folder in the checkout"):
        mounts_for(["app", "export", "sentiment", "../model"], root)
    assert mounts_for(["app", "export", "sentiment", "exports/model"], root) == []


@pytest.mark.parametrize(
    "words",
    [
        ["app", "doctor", "explain", "cannot", "open", "FILE", "now"],
        ["app", "doctor", "explain", "cannot open FILE now"],
        ["app", "generate", "gpt-char", "--prompt", "FILE"],
        ["app", "generate", "gpt-char", "--prompt=FILE"],
        ["app", "train", "sentiment", "name=FILE"],
        ["app", "runs", "FILE"],
        ["bash", "-c", "app doctor explain 'cannot open FILE now'"],
        ["bash", "-c", "echo 'cannot open FILE now' > x"],
    ],
)
def test_a_path_in_a_text_is_not_shown(root: Path, words: list[str]) -> None:
    file = str(root.parent / "reviews" / "train.tsv")
    assert mounts_for([word.replace("FILE", file) for word in words], root) == []


def test_only_files_and_folders_are_shown_whatever_link_leads_to_another_thing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = root.parent
    monkeypatch.chdir(beside)  # the path of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("engine.sock")
    os.mkfifo(beside / "pipe")
    links: dict[str, str | Path] = {
        "socket": beside / "engine.sock",
        "device": "/dev/null",
        "settings": "/etc/passwd",
        "all": "/",
    }
    for name, target in links.items():
        (beside / name).symlink_to(target)
    for name in (*links, "engine.sock", "pipe"):
        for words in (["app", "predict", "sentiment", f"../{name}"], ["cat", f"../{name}"]):
            assert mounts_for(words, root) == [], name
    (beside / "link.tsv").symlink_to(beside / "reviews" / "train.tsv")
    shown = Mount(str(beside / "reviews" / "train.tsv"), "/link.tsv")
    assert mounts_for(["app", "predict", "sentiment", "../link.tsv"], root) == [shown]
