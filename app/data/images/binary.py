"""MNIST's and CIFAR's binary forms as arrays: every size is known before, so a hostile file can neither lead nor flood.

idx      0 0 8 D, the D sizes as 32-bit big-endian integers, then the values, a byte each (Y. LeCun, MNIST's page)
CIFAR    a record an image: its label bytes, then 32 x 32 reds, greens and blues (A. Krizhevsky, CIFAR's page)
"""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

UNSIGNED_BYTES = 8  # idx's code of the type
SIDE = 32  # of CIFAR's images
MOST_MEMBERS = 100  # of an archive; CIFAR's have at most nine
MOST_NAMES = 1 << 16  # bytes of the file with the names of the classes


class Readable(Protocol):
    """A file open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...


def read_idx(file: Readable, shape: Sequence[int]) -> Bytes:
    """Return the array of an idx file. Raises ValueError if it is not one of bytes in this shape, complete and alone.

    No more is read than the shape has.
    """
    header = file.read(4 + 4 * len(shape))
    if len(header) < 4 + 4 * len(shape) or header[:4] != bytes((0, 0, UNSIGNED_BYTES, len(shape))):
        raise ValueError(f"it is no idx file of bytes with {len(shape)} dimensions")
    found = struct.unpack(f">{len(shape)}I", header[4:])
    if found != tuple(shape):
        raise ValueError(f"its shape is {_times(found)} instead of {_times(shape)}")
    return _exactly(file, prod(shape)).reshape(shape)


def read_cifar(path: Path, names: Sequence[str], images: int, label_bytes: int) -> tuple[Bytes, Bytes]:
    """Return the images (N, 32, 32, 3) and the last label (N,) of the records in some files of a tar.gz archive.

    `names`: the files, in order, of N / len(names) images each. Nothing is extracted. Raises ValueError if a file is
    missing or has another size; OSError or tarfile.TarError if the archive is damaged.
    """
    width = label_bytes + 3 * SIDE * SIDE
    each = images // len(names)
    files = _members(path, dict.fromkeys(names, each * width))
    records = np.concatenate([files[name] for name in names]).reshape(images, width)
    pixels = records[:, label_bytes:].reshape(images, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), records[:, label_bytes - 1]


def read_cifar_names(path: Path, name: str, classes: int) -> tuple[str, ...]:
    """Return the names of the classes, which a file of the archive holds one a line. Raises as `read_cifar`."""
    text = _members(path, {name: None})[name].tobytes().decode("ascii")
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(found) != classes:
        raise ValueError(f"{name} has {len(found)} names instead of {classes}")
    return found


def _members(path: Path, sizes: dict[str, int | None]) -> dict[str, Bytes]:
    """Return these files of an archive; None: of any size up to MOST_NAMES bytes."""
    found: dict[str, Bytes] = {}
    with tarfile.open(path, "r|gz") as archive:  # a stream: nothing is sought, nothing is extracted
        for count, member in enumerate(archive):
            if count >= MOST_MEMBERS or len(found) == len(sizes):
                break
            if member.name not in sizes:
                continue
            size = sizes[member.name]
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or (member.size != size if size is not None else member.size > MOST_NAMES):
                raise ValueError(f"{member.name} is not the file that it should be: {member.size:,} bytes")
            found[member.name] = _exactly(content, member.size)
    missing = sizes.keys() - found.keys()
    if missing:
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    return found


def _exactly(file: Readable, count: int) -> Bytes:
    """Return the rest of a file, which must have `count` bytes. Raises ValueError if it has more or less."""
    content = file.read(count)
    if len(content) < count or file.read(1):
        raise ValueError(f"it has {'less' if len(content) < count else 'more'} than {count:,} values")
    return np.frombuffer(content, dtype=np.uint8)


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
