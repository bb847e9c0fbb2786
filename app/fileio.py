"""Atomic writes: a temporary file or folder next to the target, then a rename, so nobody ever reads half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO})
BLOCK = 4096  # bytes; a file system on a full disk may still take an empty file


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by a file with these bytes; the old file stays complete until the new one is on the disk.

    Raises OSError that names `path` if the system refuses it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = _building_name(path)
    with _naming(path, building):
        try:
            with building.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            building.replace(path)
        except BaseException:
            building.unlink(missing_ok=True)
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
    Raises OSError that names `path` if the system refuses it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = _building_name(path)
    with _naming(path, building):
        building.mkdir()
        mode = stat.S_IMODE(building.stat().st_mode)  # what the umask leaves of 0o777
        try:
            yield building
            for entry in building.rglob("*"):
                usual = mode if entry.is_dir() else mode & 0o666
                if stat.S_IMODE(entry.stat().st_mode) != usual:  # safetensors writes files as 0600
                    entry.chmod(usual)
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


def _building_name(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(4)}"


@contextmanager
def _naming(path: Path, building: Path) -> Iterator[None]:
    """Let an OSError of the block name `path` if it names no file, or the one that was to become `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in REFUSALS and error.filename in (None, str(building)):
            error.filename, error.filename2 = str(path), None
        raise


def check_writable(folder: Path) -> None:
    """Raise OSError if no file can be written into a folder, which need not exist yet. Leaves nothing behind.

    Called before long work, so that its result is not lost at the end.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(BLOCK))
        file.flush()
        os.fsync(file.fileno())


def refusal(error: BaseException) -> int | None:
    """Return the error number if the system refused a file (no room, no access, a broken disk); None for other errors.

    Libraries in Rust report it as text, `(os error 28)`; shutil as `[Errno 28]`; numpy as bytes that were not written.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in REFUSALS else None
    text = str(error)
    if re.fullmatch(r"\d+ requested and \d+ written", text):
        return errno.ENOSPC
    found = re.search(r"\(os error (\d+)\)|\[Errno (\d+)\]", text)
    number = int(found[1] or found[2]) if found else None
    return number if number in REFUSALS else None


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
