"""Archives as the authors of MNIST and CIFAR publish them, small and with random bytes, for tests."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision

from app.data.images import downloads


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array of bytes as an idx file."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz archive of files."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


def put(path: Path, content: bytes) -> str:
    """Write a file and return its MD5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.md5(content).hexdigest()


def small_mnist(
    cache: Path, patch: pytest.MonkeyPatch, train: np.ndarray[Any, Any], test: np.ndarray[Any, Any]
) -> Path:
    """Put an MNIST of these images (N, side, side), labelled 0, 1, 0, 1 ..., into the cache; return its folder."""
    folder = cache / "torchvision" / "MNIST"
    resources = []
    for part, images in (("train", train), ("t10k", test)):
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(len(images)) % 2)):
            file = f"{part}-{name}-ubyte.gz"
            resources.append((file, put(folder / "raw" / file, gzip.compress(idx(array)))))
    patch.setattr(torchvision.datasets.MNIST, "resources", resources)
    patch.setattr(downloads, "TRAIN", len(train))
    patch.setattr(downloads, "TEST", len(test))
    patch.setattr(downloads, "MNIST_SIDE", train.shape[1])
    return folder


def small_cifar(cache: Path, patch: pytest.MonkeyPatch, name: str, records: Sequence[bytes]) -> Path:
    """Put a CIFAR with these records in each of its files into the cache; return the archive's path."""
    form = downloads.CIFAR[name]
    files = {file: b"".join(records) for file in (*form.train, *form.test)}
    names = "".join(f"class {i}\n" for i in range(form.classes)) + "\n"
    path = cache / "torchvision" / Path(getattr(torchvision.datasets, name).url.replace("-python", "-binary")).name
    md5 = put(path, tar_gz({**files, form.names: names.encode()}))
    images = (len(records) * len(form.train), len(records))
    patch.setitem(downloads.CIFAR, name, downloads.CifarForm(**{**vars(form), "md5": md5, "images": images}))
    return path
