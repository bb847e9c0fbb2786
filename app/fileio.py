"""Atomic writes: a temporary file or folder next to the target, then a rename, so nobody ever reads half a file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by a file with these bytes; the old file stays complete until the new one is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())  # mkstemp gives 0600, also if the user lets others read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a UTF-8 file with this text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON."""
    write_text(path, as_json(value, indent=2) + "\n")


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON text; NaN and infinities, which JSON cannot hold, become null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `path` when the block ends without an error.

    If another process has made `path` in the meantime, its folder stays and ours is dropped: both hold the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    building.chmod(0o777 & ~_umask())
    try:
        yield building
        for entry in building.rglob("*"):
            entry.chmod((0o777 if entry.is_dir() else 0o666) & ~_umask())  # safetensors writes files as 0600
            to_disk(entry)
        to_disk(building)
        try:
            building.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        to_disk(path.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _umask() -> int:
    """Return the permissions that this process takes from new files. They can only be read by setting them."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk, so that a rename never shows missing data."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file in hex, reading 1 MiB at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
