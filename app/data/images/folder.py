"""Images out of files: a folder with a folder for each class, or any images without a class."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from app.data.files import MOST_PROBLEMS
from app.data.gather import all_of
from app.data.images.dataset import Images
from app.data.images.pixels import Pixels, cached, decoded
from app.data.readable import file_digest, local, readable
from app.errors import DataError, Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

T = TypeVar("T")


def in_folder(folder: Path, side: int, channels: int) -> Images:
    """The images of a folder whose folders are the classes, in the order of their names.

    Raises DataError for less than two classes, and for every unreadable file.
    """
    with readable(folder):
        found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) < 2:
        fix = "put the images of each class into a folder with the name of the class"
        raise DataError(Problem(f"{len(found)} classes: training needs at least two", fix, str(folder)))
    of_class = all_of(partial(_images_in, folder / name) for name in found)
    files = [path for paths in of_class for path in paths]
    if not files:
        raise _no_images(folder)
    labels = np.repeat(np.arange(len(found), dtype=np.int64), [len(paths) for paths in of_class])
    pixels, digest = _read(files, side, channels)
    return Images(pixels, labels, tuple(found), digest, tuple(map(str, files)))


def unlabelled(name: str, side: int, channels: int, classes: tuple[str, ...]) -> Images:
    """An image, or all the images of a folder and below it. Raises DataError."""
    path = local(name)
    with readable(path):
        files = _images_in(path) if path.is_dir() else [path]
    if not files:
        raise _no_images(path)
    pixels, digest = _read(files, side, channels)
    return Images(pixels, None, classes, digest, tuple(map(str, files)))


def _no_images(folder: Path) -> DataError:
    return DataError(Problem("no images", f"known are {', '.join(SUFFIXES)}", str(folder)))


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder and below it, in order. Raises DataError for a folder that cannot be listed."""

    def refuse(error: OSError) -> None:  # else a folder without the right to be read would be an empty one
        raise error

    with readable(folder):
        files = [Path(place, name) for place, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES)


def _read(files: Sequence[Path], side: int, channels: int) -> tuple[Pixels, str]:
    """Pixels of image files, and the sha256 of the files. Raises DataError with the files that cannot be read."""
    sums = _each(files, file_digest)
    digest = hashlib.sha256(bytes.fromhex("".join(sums))).hexdigest()
    key = [digest, str(side), str(channels)]
    return cached(key, lambda: np.stack(_each(files, lambda path: decoded(path, side, channels)))), digest


def _each(files: Sequence[Path], read: Callable[[Path], T]) -> list[T]:
    """What `read` gives for each file. Raises DataError naming those it fails for, or the first and how many more."""
    try:
        return all_of(partial(read, path) for path in files)
    except DataError as error:
        more = len(error.problems) - MOST_PROBLEMS
        if more <= 0:
            raise
        rest = Problem(f"{more} more files like these", "correct them too", str(files[0].parent))
        raise DataError(*error.problems[:MOST_PROBLEMS], rest) from error
