"""Labelled images by name: scikit-learn's digits, a set that torchvision downloads, or a folder of folders.

All become one array of bytes, (N, C, H, W), square and of one size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from app.data.gather import all_of
from app.data.images.dataset import Images
from app.data.images.folder import in_folder, unlabelled
from app.data.images.pixels import cached, pixels_of
from app.data.readable import local, readable
from app.errors import DataError, Problem, did_you_mean
from app.paths import cache_folder

__all__ = ["Images", "labelled", "labelled_splits", "unlabelled"]

DIGITS = "digits"
TORCHVISION = "torchvision:"
SETS = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100")


def labelled_splits(names: Mapping[str, str], side: int, channels: int) -> dict[str, Images]:
    """The images of each split by its name: of torchvision's sets `train` has the training part, any other the test
    part. Raises DataError with what is wrong in all of them."""
    found = all_of(partial(labelled, name, side, channels, split != "train") for split, name in names.items())
    return dict(zip(names, found))


def labelled(name: str, side: int, channels: int, test: bool = False) -> Images:
    """Images by name: `digits`, `torchvision:SET` (its test part with `test`), or a folder of folders.

    Raises DataError naming each file that is no image.
    """
    if name == DIGITS:
        return digits(side, channels)
    if name.startswith(TORCHVISION):
        return downloaded(name.removeprefix(TORCHVISION), side, channels, test)
    folder = local(name)
    with readable(folder):
        if not folder.is_dir():
            fix = f"name a folder of images, {DIGITS}, or {TORCHVISION}{SETS[0]}"
            raise DataError(Problem(f"no such folder: {folder}", fix))
    return in_folder(folder, side, channels)


def digits(side: int, channels: int) -> Images:
    """scikit-learn's 1,797 handwritten digits of 8 x 8 pixels in 17 greys (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    greys = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.stack([pixels_of(Image.fromarray(grey), side, channels) for grey in greys])
    return Images(
        pixels, bunch.target.astype(np.int64), tuple("0123456789"), hashlib.sha256(pixels.tobytes()).hexdigest()
    )


def downloaded(name: str, side: int, channels: int, test: bool) -> Images:
    """A set of torchvision's, downloaded into the cache on first use. Raises DataError where that fails."""
    if name not in SETS:
        fix = f"did you mean {did_you_mean(name, SETS)}?" if did_you_mean(name, SETS) else f"one of {', '.join(SETS)}"
        raise DataError(Problem(f"data: torchvision has no set {name!r} here", fix))
    import torchvision

    try:
        found = getattr(torchvision.datasets, name)(str(cache_folder() / "torchvision"), train=not test, download=True)
    except (OSError, RuntimeError) as error:
        fix = "go online once, or take data.train=digits or a folder of images"
        raise DataError(Problem(f"{name} cannot be downloaded: {error}", fix)) from error
    raw = np.asarray(found.data)
    pixels = cached(
        [name, str(test), str(side), str(channels), hashlib.sha256(raw.tobytes()).hexdigest()],
        lambda: np.stack([pixels_of(Image.fromarray(image), side, channels) for image in raw]),
    )
    labels = np.asarray(found.targets, dtype=np.int64)
    return Images(pixels, labels, tuple(map(str, found.classes)), hashlib.sha256(pixels.tobytes()).hexdigest())
