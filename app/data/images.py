"""Labelled images: scikit-learn's digits, a folder with a folder for each class, or a set that torchvision downloads.

All become one array of bytes, (N, C, H, W), square and of one size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app import atomic
from app.config import cache_folder, nearest
from app.data.batch import Batch
from app.errors import DataError, Problem

DIGITS = "digits"
TORCHVISION = "torchvision:"
SETS = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
FORMAT = 1  # raise it when the arrays change their meaning
MOST_PROBLEMS = 20

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Images:
    """Images and their classes; a `DataSet`."""

    pixels: Pixels
    """(N, C, side, side), 0 to 255."""
    labels: np.ndarray[Any, np.dtype[np.int64]] | None
    """(N,) index into `classes`; None where nobody knows."""
    classes: tuple[str, ...]
    digest: str
    """sha256 of what they were made from."""
    names: tuple[str, ...] = ()
    """File of each image, where each has one."""

    @cached_property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.ones(len(self), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        pixels = torch.from_numpy(self.pixels[indices]).float().div_(127.5).sub_(1)  # -1 to 1
        return Batch(
            inputs={"pixels": pixels},
            index=torch.from_numpy(np.ascontiguousarray(indices)),
            labels=None if self.labels is None else torch.from_numpy(self.labels[indices]),
            useful=len(indices),
            padded=len(indices),
        )

    def some(self, indices: np.ndarray[Any, Any]) -> Images:
        """The images at `indices`, as a set of its own."""
        assert self.labels is not None
        key = hashlib.sha256(f"{self.digest}\n{indices.tolist()}".encode()).hexdigest()
        names = tuple(self.names[i] for i in indices) if self.names else ()
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices], digest=key, names=names)

    def divided(self, shares: Sequence[float], seed: int) -> list[Images]:
        """Disjoint parts of these shares, and last what is left; of each class every part has its share."""
        assert self.labels is not None
        random = np.random.Generator(np.random.PCG64(seed))
        parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
        for label in range(len(self.classes)):
            of_class = random.permutation(np.flatnonzero(self.labels == label))
            cuts = np.round(np.cumsum(shares) * len(of_class)).astype(int)
            for part, indices in zip(parts, np.split(of_class, cuts)):
                part += indices.tolist()
        return [self.some(np.sort(np.array(part, dtype=np.int64))) for part in parts]


def labelled(name: str, side: int, channels: int, test: bool = False) -> Images:
    """Images by name: `digits`, `torchvision:SET` (its test part with `test`), or a folder of folders.

    Raises DataError naming each file that is no image.
    """
    if name == DIGITS:
        return digits(side, channels)
    if name.startswith(TORCHVISION):
        return downloaded(name.removeprefix(TORCHVISION), side, channels, test)
    return in_folder(Path(name).expanduser(), side, channels)


def digits(side: int, channels: int) -> Images:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels in 17 greys (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    greys = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.stack([_resized(_from_array(grey), side, channels) for grey in greys])
    return Images(
        pixels, bunch.target.astype(np.int64), tuple("0123456789"), hashlib.sha256(pixels.tobytes()).hexdigest()
    )


def downloaded(name: str, side: int, channels: int, test: bool) -> Images:
    """A set of torchvision's, downloaded into the cache on first use. Raises DataError where that fails."""
    if name not in SETS:
        fix = f"did you mean {nearest(name, SETS)}?" if nearest(name, SETS) else f"one of {', '.join(SETS)}"
        raise DataError(Problem(f"data: torchvision has no set {name!r} here", fix))
    import torchvision

    try:
        found = getattr(torchvision.datasets, name)(str(cache_folder() / "torchvision"), train=not test, download=True)
    except (OSError, RuntimeError) as error:
        fix = "go online once, or take data.train=digits or a folder of images"
        raise DataError(Problem(f"{name} cannot be downloaded: {error}", fix)) from error
    raw = np.asarray(found.data)
    pixels = _cached(
        [name, str(test), str(side), str(channels), hashlib.sha256(raw.tobytes()).hexdigest()],
        lambda: np.stack([_resized(_from_array(image), side, channels) for image in raw]),
    )
    labels = np.asarray(found.targets, dtype=np.int64)
    return Images(pixels, labels, tuple(map(str, found.classes)), hashlib.sha256(pixels.tobytes()).hexdigest())


def in_folder(folder: Path, side: int, channels: int) -> Images:
    """The images of a folder whose folders are the classes, in the order of their names.

    Raises DataError for no such folder, less than two classes, and every unreadable file.
    """
    if not folder.is_dir():
        what = f"no such folder: {folder}"
        raise DataError(Problem(what, f"name a folder of images, {DIGITS}, or {TORCHVISION}{SETS[0]}"))
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) < 2:
        fix = "put the images of each class into a folder with the name of the class"
        raise DataError(Problem(f"{len(found)} classes: training needs at least two", fix, str(folder)))
    files = [path for name in found for path in _images_in(folder / name)]
    if not files:
        raise DataError(Problem("no images", f"known are {', '.join(SUFFIXES)}", str(folder)))
    labels = np.array([found.index(path.relative_to(folder).parts[0]) for path in files], dtype=np.int64)
    pixels, digest = _read(files, side, channels)
    return Images(pixels, labels, tuple(found), digest, tuple(map(str, files)))


def unlabelled(name: str, side: int, channels: int, classes: tuple[str, ...]) -> Images:
    """An image, or all the images of a folder and below it. Raises DataError."""
    path = Path(name).expanduser()
    files = _images_in(path) if path.is_dir() else [path]
    if not files:
        raise DataError(Problem("no images", f"known are {', '.join(SUFFIXES)}", name))
    pixels, digest = _read(files, side, channels)
    return Images(pixels, None, classes, digest, tuple(map(str, files)))


def _images_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read(files: Sequence[Path], side: int, channels: int) -> tuple[Pixels, str]:
    """Pixels of image files, and the sha256 of the files. Raises DataError with every file that cannot be read."""
    problems, digest = [], hashlib.sha256()
    for path in files:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            problems.append(Problem(f"the image cannot be read: {error.strerror}", "check its name", str(path)))
    if problems:
        raise DataError(*problems[:MOST_PROBLEMS])
    key = digest.hexdigest()
    return _cached([key, str(side), str(channels)], lambda: _decoded(files, side, channels)), key


def _decoded(files: Sequence[Path], side: int, channels: int) -> Pixels:
    from PIL import Image, UnidentifiedImageError

    problems, images = [], []
    for path in files:
        try:
            with Image.open(path) as image:
                images.append(_resized(image, side, channels))
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            what = f"not an image that can be read: {error}"
            problems.append(Problem(what, "remove the file, or save the image again", str(path)))
    if problems:
        raise DataError(*problems[:MOST_PROBLEMS])
    return np.stack(images)


def _cached(key: Sequence[str], make: Callable[[], Pixels]) -> Pixels:
    """An array from the cache, made and put there where it is missing; memory-mapped."""
    name = hashlib.sha256(json.dumps([FORMAT, *key]).encode()).hexdigest()[:32]
    folder = cache_folder() / "images" / name
    if not folder.is_dir():
        pixels = make()
        with atomic.new_folder(folder) as building:
            np.save(building / "pixels.npy", pixels)
    mapped: Pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    return mapped


def _from_array(pixels: np.ndarray[Any, Any]) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _resized(image: Any, side: int, channels: int) -> Pixels:
    """(C, side, side) of an image of any size and kind, stretched where it is not square."""
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(side, side, channels).transpose(2, 0, 1)
