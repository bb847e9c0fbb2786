"""Labelled images by name: scikit-learn's digits, a set that torchvision downloads, or a folder of class folders.

All become one uint8 array (N, C, side, side).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from app.data.images.dataset import Images
from app.data.images.decode import cached_pixels, check_room, to_pixels
from app.data.images.downloads import SETS, downloaded
from app.data.images.folder import read_class_folders
from app.data.reading import local_path, read_all, reading
from app.errors import DataError, Problem, did_you_mean

DIGITS = "digits"
TORCHVISION = "torchvision:"


def read_labelled_splits(names: Mapping[str, str], side: int, channels: int) -> dict[str, Images]:
    """Return the images of each split, by its name.

    Of a torchvision set, `train` is the training part and any other split the test part. Raises DataError with the
    problems of all splits.
    """
    found = read_all(partial(read_labelled, name, side, channels, split != "train") for split, name in names.items())
    return dict(zip(names, found))


def read_labelled(name: str, side: int, channels: int, test: bool = False) -> Images:
    """Return images by name: `digits`, `torchvision:SET` (its test part with `test`), or a folder of class folders.

    Raises DataError naming each file that is not an image.
    """
    if name == DIGITS:
        return read_digits(side, channels)
    if name.startswith(TORCHVISION):
        return read_torchvision(name.removeprefix(TORCHVISION), side, channels, test)
    folder = local_path(name)
    with reading(folder):
        if not folder.is_dir():
            fix = f"name a folder of images, {DIGITS}, or {TORCHVISION}{SETS[0]}"
            raise DataError(Problem(f"no such folder: {folder}", fix))
    return read_class_folders(folder, side, channels)


def read_digits(side: int, channels: int) -> Images:
    """Return scikit-learn's 1,797 handwritten digits, originally 8 x 8 in 17 greys (Alpaydin and Kaynak 1998)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    check_room(len(bunch.images), side, channels)
    greys = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    pixels = np.stack([to_pixels(Image.fromarray(grey), side, channels) for grey in greys])
    return Images(
        pixels, bunch.target.astype(np.int64), tuple("0123456789"), hashlib.sha256(pixels.tobytes()).hexdigest()
    )


def read_torchvision(name: str, side: int, channels: int, test: bool) -> Images:
    """Return a set of torchvision's list, downloaded into the cache on first use. Raises DataError if that fails."""
    if name not in SETS:
        guess = did_you_mean(name, SETS)
        fix = f"did you mean {guess}?" if guess else f"one of {', '.join(SETS)}"
        raise DataError(Problem(f"data: torchvision has no set {name!r} here", fix))
    found = downloaded(name, test)
    check_room(len(found.pixels), side, channels)
    pixels = cached_pixels(
        [name, str(test), str(side), str(channels), hashlib.sha256(found.pixels.tobytes()).hexdigest()],
        lambda: np.stack([to_pixels(Image.fromarray(image), side, channels) for image in found.pixels]),
    )
    return Images(pixels, found.labels.astype(np.int64), found.classes, hashlib.sha256(pixels.tobytes()).hexdigest())
