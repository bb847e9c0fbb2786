"""Files and folders appear whole or not at all, with the user's modes, and JSON never holds NaN."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from app import fileio
from app.runs import checkpoints
from app.runs.records import JsonLines


def test_every_file_is_on_the_disk_before_the_folder_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    target = tmp_path / "folder"

    def to_disk(path: Path) -> None:
        synced.append(path.name)
        assert target.exists() == (path == tmp_path)

    monkeypatch.setattr(fileio, "to_disk", to_disk)
    with fileio.new_folder(target) as building:
        (building / "inner").mkdir()
        (building / "inner" / "a.npy").write_bytes(b"a")
        (building / "b.npy").write_bytes(b"b")
    assert {"a.npy", "b.npy", "inner"} <= set(synced)


def test_numbers_that_are_not_finite_become_null_in_json(tmp_path: Path) -> None:
    fileio.write_json(tmp_path / "x.json", {"scores": [1.5, math.nan], "best": {"loss": -math.inf}})
    assert json.loads((tmp_path / "x.json").read_text()) == {"scores": [1.5, None], "best": {"loss": None}}


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_everything_written_has_the_modes_that_the_umask_leaves(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        fileio.write_text(tmp_path / "made" / "text", "x")
        log = JsonLines(tmp_path / "made" / "metrics.jsonl")
        log.record({"a": 1.0}, 1)
        checkpoints.save({"weights": torch.zeros(2)}, tmp_path / "made" / "checkpoints" / "step-00000001")
        with fileio.new_folder(tmp_path / "made" / "model") as building:
            (building / "inner").mkdir()
            save_file({"a": torch.zeros(2)}, str(building / "inner" / "model.safetensors"))
    finally:
        os.umask(before)
    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    assert len(made) == 11
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~mask, path


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (PermissionError(errno.EACCES, "Permission denied"), errno.EACCES),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), None),
        (Exception("No space left on device (os error 28)"), errno.ENOSPC),  # tokenizers
        (OSError("1000 requested and 500 written"), errno.ENOSPC),  # numpy
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), errno.ENOSPC),
        (ValueError("a bug"), None),
        (Exception("connection refused (os error 111)"), None),
    ],
)
def test_the_systems_refusal_is_known_in_every_librarys_words(error: Exception, number: int | None) -> None:
    assert fileio.refusal(error) == number


def test_a_refused_write_names_the_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as refused:
        fileio.write_text(tmp_path / "x.json", "{}")
    assert refused.value.filename == str(tmp_path / "x.json")
    with pytest.raises(OSError) as refused, fileio.new_folder(tmp_path / "folder") as building:
        (building / "a").write_text("a")
    assert refused.value.filename == str(tmp_path / "folder")
    with pytest.raises(OSError):
        fileio.check_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_tested_without_a_trace(tmp_path: Path) -> None:
    fileio.check_writable(tmp_path / "not" / "yet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        fileio.check_writable(tmp_path / "file" / "inner")
