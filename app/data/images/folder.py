"""Images from files: a folder with one folder per class, or any images without classes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from app.data.images.dataset import Images
from app.data.images.decode import Pixels, cached_pixels, check_room, decode_image
from app.data.lines import MAX_PROBLEMS
from app.data.reading import file_digest, local_path, read_all, reading
from app.errors import DataError, Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")

T = TypeVar("T")


def read_class_folders(folder: Path, side: int, channels: int) -> Images:
    """Return the images of a folder whose subfolders are the classes, in alphabetical order.

    Raises DataError if there are less than two classes, and for every unreadable file.
    """
    with reading(folder):
        classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        fix = "put the images of each class into a folder with the name of the class"
        raise DataError(Problem(f"{len(classes)} classes: training needs at least two", fix, str(folder)))
    of_class = read_all(partial(_images_in, folder / name) for name in classes)
    files = [path for paths in of_class for path in paths]
    if not files:
        raise _no_images(folder)
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(paths) for paths in of_class])
    pixels, digest = _read(files, side, channels)
    return Images(pixels, labels, tuple(classes), digest, tuple(map(str, files)))


def read_unlabelled(name: str, side: int, channels: int, classes: tuple[str, ...]) -> Images:
    """Return one image file, or all images in a folder and its subfolders. Raises DataError."""
    path = local_path(name)
    with reading(path):
        files = _images_in(path) if path.is_dir() else [path]
    if not files:
        raise _no_images(path)
    pixels, digest = _read(files, side, channels)
    return Images(pixels, None, classes, digest, tuple(map(str, files)))


def _no_images(folder: Path) -> DataError:
    return DataError(Problem("no images", f"known are {', '.join(SUFFIXES)}", str(folder)))


def _images_in(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted. Raises DataError if one cannot be listed."""

    def refuse(error: OSError) -> None:  # by default, os.walk takes a folder that it may not read for an empty one
        raise error

    with reading(folder):
        files = [Path(place, name) for place, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES)


def _read(files: Sequence[Path], side: int, channels: int) -> tuple[Pixels, str]:
    """Return the pixels of image files and the sha256 of the files. Raises DataError naming the unreadable ones."""
    check_room(len(files), side, channels)
    sums = _for_each(files, file_digest)
    digest = hashlib.sha256(bytes.fromhex("".join(sums))).hexdigest()
    key = [digest, str(side), str(channels)]
    return cached_pixels(
        key, lambda: np.stack(_for_each(files, lambda path: decode_image(path, side, channels)))
    ), digest


def _for_each(files: Sequence[Path], read: Callable[[Path], T]) -> list[T]:
    """Return `read(file)` for each file. Raises DataError with the first MAX_PROBLEMS problems and how many follow."""
    try:
        return read_all(partial(read, path) for path in files)
    except DataError as error:
        more = len(error.problems) - MAX_PROBLEMS
        if more <= 0:
            raise
        rest = Problem(f"{more} more files like these", "correct them too", str(files[0].parent))
        raise DataError(*error.problems[:MAX_PROBLEMS], rest) from error
