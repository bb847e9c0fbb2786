"""Arrays are made once, and an error names a broken cache folder and how to remove it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.data.cache import Array, cached_arrays
from app.errors import DataError

KEY = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path))


def pair() -> list[Array]:
    return [np.arange(3), np.zeros((0, 2))]


def test_arrays_are_made_once_and_mapped() -> None:
    cached_arrays("some", KEY, ("full", "empty"), pair)
    full, empty = cached_arrays("some", KEY, ("full", "empty"), lambda: pytest.fail("made again"))
    assert full.tolist() == [0, 1, 2] and empty.shape == (0, 2)
    assert isinstance(full, np.memmap)


def test_an_error_while_making_arrays_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached_arrays("some", KEY, ["full"], lambda: [np.arange(1 // 0)])
    assert not list(tmp_path.rglob("*.npy"))
    assert cached_arrays("some", KEY, ["full"], lambda: [np.arange(2)])[0].tolist() == [0, 1]


@pytest.mark.parametrize("left", [b"", b"no array", None])
def test_a_broken_folder_is_named_with_the_command_that_removes_it(left: bytes | None, tmp_path: Path) -> None:
    cached_arrays("some", KEY, ("full", "empty"), pair)
    [path] = tmp_path.rglob("full.npy")
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with pytest.raises(DataError, match=f"rm -r {path.parent}"):
        cached_arrays("some", KEY, ("full", "empty"), pair)
