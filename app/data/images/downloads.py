"""MNIST, its relatives and CIFAR, downloaded with torchvision's addresses and checksums, and read here.

torchvision's own readers unpickle: CIFAR's "python" form, and a `processed/*.pt` that they find next to MNIST. So only
its downloads are used: the archives of bytes, each compared with its MD5 at every use.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
import zlib
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from app.data.images.binary import SIDE, Bytes, read_cifar, read_cifar_names, read_idx
from app.data.reading import check_regular
from app.errors import DataError, Problem, first_line
from app.paths import cache_folder

MNIST_SIDE = 28
TRAIN, TEST = 60_000, 10_000  # images of MNIST and its relatives


@dataclass(frozen=True)
class CifarForm:
    """CIFAR's binary archive. It is not among torchvision's own, so its MD5 is that of the authors' page."""

    md5: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label_bytes: int
    classes: int
    images: tuple[int, int] = (50_000, 10_000)


CIFAR = {
    "CIFAR10": CifarForm(
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        train=tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        test=("cifar-10-batches-bin/test_batch.bin",),
        names="cifar-10-batches-bin/batches.meta.txt",
        label_bytes=1,
        classes=10,
    ),
    "CIFAR100": CifarForm(
        md5="03b5dce01913d631647c71ecec9e9cb8",
        train=("cifar-100-binary/train.bin",),
        test=("cifar-100-binary/test.bin",),
        names="cifar-100-binary/fine_label_names.txt",
        label_bytes=2,
        classes=100,
    ),
}
SETS = ("MNIST", "FashionMNIST", "KMNIST", *CIFAR)


@dataclass(frozen=True)
class RawImages:
    """A set as its authors published it."""

    pixels: Bytes
    """(N, side, side) greys or (N, side, side, 3)."""
    labels: Bytes
    """(N,)"""
    classes: tuple[str, ...]


def downloaded(name: str, test: bool) -> RawImages:
    """Return the training or the test part of one of SETS, downloaded into the cache on first use.

    Raises DataError if it cannot be downloaded or is not what it should be.
    """
    import torchvision

    source: Any = getattr(torchvision.datasets, name)  # for its addresses and checksums: it is never called
    folder = cache_folder() / "torchvision"
    found = _cifar(name, source, folder, test) if name in CIFAR else _mnist(name, source, folder / name / "raw", test)
    if int(found.labels.max(initial=0)) >= len(found.classes):
        raise DataError(Problem(f"{name} has a label beyond its {len(found.classes)} classes", _again(folder)))
    return found


def _mnist(name: str, source: Any, folder: Path, test: bool) -> RawImages:
    images, labels = source.resources[2:4] if test else source.resources[:2]
    count = TEST if test else TRAIN
    arrays = []
    for (file, md5), shape in ((images, (count, MNIST_SIDE, MNIST_SIDE)), (labels, (count,))):
        path = _download(name, [f"{mirror}{file}" for mirror in source.mirrors], folder / file, md5)
        try:
            with gzip.open(path) as content:
                arrays.append(read_idx(content, shape))
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise _damaged(path, error) from error
    return RawImages(arrays[0], arrays[1], tuple(map(str, source.classes)))


def _cifar(name: str, source: Any, folder: Path, test: bool) -> RawImages:
    form = CIFAR[name]
    url = str(source.url).replace("-python", "-binary")
    path = _download(name, [url], folder / Path(url).name, form.md5)
    files, images = (form.test, form.images[1]) if test else (form.train, form.images[0])
    try:
        classes = read_cifar_names(path, form.names, form.classes)
        pixels, labels = read_cifar(path, files, images, form.label_bytes)
    except (ValueError, EOFError, OSError, zlib.error, tarfile.TarError) as error:
        raise _damaged(path, error) from error
    assert pixels.shape[1:] == (SIDE, SIDE, 3)
    return RawImages(pixels, np.ascontiguousarray(labels), classes)


def _download(name: str, urls: Sequence[str], path: Path, md5: str) -> Path:
    """Return an archive of the cache with this MD5, downloaded from the first address that answers."""
    from torchvision.datasets.utils import check_integrity, download_url

    check_regular(path)
    reason = ""
    for url in urls:
        try:
            if check_integrity(str(path), md5):
                return path
            with redirect_stdout(sys.stderr):  # it prints, and stdout may be JSON
                download_url(url, str(path.parent), path.name, md5)
            return path
        except (OSError, RuntimeError, HTTPException) as error:
            reason = first_line(error)
    fix = "go online once, or take data.train=digits or a folder of images"
    raise DataError(Problem(f"{name} cannot be downloaded: {reason}", fix))


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(Problem(f"it cannot be used: {first_line(error)}", _again(path), str(path)))


def _again(path: Path) -> str:
    return f"remove it, and it is downloaded again: rm -r {path}"
