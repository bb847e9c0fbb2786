"""A new folder appears only when its bytes are on the disk, and JSON never holds NaN."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from app import fileio


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
