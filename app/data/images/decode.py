"""Decode any image to uint8 (C, side, side), and cache the result."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from app.data.cache import cached_arrays
from app.data.reading import check_regular, read_problem
from app.errors import DataError, Problem, first_line
from app.hardware.memory import no_room

FORMAT = 2  # part of the cache key: raise it when the same image would give other bytes
# Pillow goes by a file's content, not by its name: of the formats that it knows, EPS starts Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
MOST_PIXELS = 178_956_970  # half a GiB of colours: more is an error of Pillow's; cameras have up to 150 million
WHITE = 65_535  # of 16-bit greys
# The operation that undoes each orientation that a camera may note (Exif 2.32, tag 0x0112); 1 is upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def decode_image(path: Path, side: int, channels: int) -> Pixels:
    """Return an image file as (C, side, side), turned upright.

    Raises DataError if it holds no complete image of one of FORMATS, or one of more than MOST_PIXELS.
    """
    check_regular(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # half of MOST_PIXELS
            with Image.open(path, formats=FORMATS) as image:
                image.load()
                return to_pixels(_upright(image), side, channels)
    except Exception as error:  # on broken files its decoders raise SyntaxError, EOFError, struct.error and more
        raise DataError(_problem(path, error)) from error


def to_pixels(image: Image.Image, side: int, channels: int) -> Pixels:
    """Return an image as (C, side, side), stretched if it is not square. 1 channel is grey, 3 are RGB.

    Raises ValueError for greys whose white is unknown.
    """
    image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(side, side, channels).transpose(2, 0, 1)


def check_room(images: int, side: int, channels: int) -> None:
    """Raise DataError if so many images of this size are more than all memory. They are held twice for a moment."""
    what = f"{images:,} images of {side} x {side} pixels in {channels} channel{'s' * (channels > 1)}"
    if problem := no_room(what, 2 * images * channels * side * side, "take a smaller data.side"):
        raise DataError(problem)


def cached_pixels(key: Sequence[str], make: Callable[[], Pixels]) -> Pixels:
    """Return the pixels of many images from the cache, after calling `make` and storing them if they are missing."""
    hashed = hashlib.sha256(json.dumps([FORMAT, *key]).encode()).hexdigest()
    return cached_arrays("images", hashed, ["pixels"], lambda: [make()])[0]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit greys to 8 bits; Pillow's own conversion turns everything above 255 white. Raises ValueError."""
    if image.mode == "F":
        raise ValueError("its greys are floating-point numbers, and nothing says which is white")
    if not image.mode.startswith("I"):
        return image
    greys = np.asarray(image).astype(np.int64)  # mode I has 32 bits; Pillow also opens a 16-bit PGM in it
    if greys.min() < 0 or greys.max() > WHITE:
        raise ValueError("its greys have more than 16 bits, and nothing says which is white")
    return Image.fromarray(((greys * 255 + WHITE // 2) // WHITE).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its Exif data says. Pillow has already turned a TIFF that is loaded."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # unreadable Exif data: the pixels are fine, so use them as stored
        return image
    return image.transpose(turn) if turn is not None else image


def _problem(path: Path, error: Exception) -> Problem:
    if isinstance(error, OSError) and error.errno is not None:
        return read_problem(path, error)
    if isinstance(error, Image.DecompressionBombError):
        return Problem(f"it has more than {MOST_PIXELS:,} pixels", "make it smaller, or remove it", str(path))
    reason = "" if isinstance(error, UnidentifiedImageError) else f": {first_line(error)}"
    fix = "remove the file, or save the image again as a PNG or JPEG of 8 bits"
    return Problem(f"not an image that can be read{reason}", fix, str(path))
