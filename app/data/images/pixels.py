"""Images of any size and kind as bytes of one size, (C, side, side); of many of them, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from app.data.cache import arrays
from app.data.readable import unreadable
from app.errors import DataError, Problem

FORMAT = 2  # raise it when the same images would become other bytes
WHITE = 65_535  # of greys in 16 bits
# What undoes each orientation that a camera may note (Exif 2.32, tag 0x0112); 1 is upright.
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


def decoded(path: Path, side: int, channels: int) -> Pixels:
    """(C, side, side) of an image file, as its camera was held. Raises DataError where it holds no whole image."""
    try:
        with Image.open(path) as image:
            image.load()
            return pixels_of(_upright(image), side, channels)
    except Exception as error:  # on broken files its decoders raise SyntaxError, EOFError, struct.error and more
        raise DataError(_problem(path, error)) from error


def pixels_of(image: Image.Image, side: int, channels: int) -> Pixels:
    """(C, side, side) of an image, stretched where it is not square. Raises ValueError for greys with no known white.

    1 channel is grey, 3 are red, green and blue.
    """
    image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8).reshape(side, side, channels).transpose(2, 0, 1)


def cached(key: Sequence[str], make: Callable[[], Pixels]) -> Pixels:
    """The pixels of many images from the cache, made and put there where they are missing."""
    hashed = hashlib.sha256(json.dumps([FORMAT, *key]).encode()).hexdigest()
    return arrays("images", hashed, ["pixels"], lambda: [make()])[0]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 bits as greys of 8: Pillow itself would make everything above 255 white."""
    if image.mode == "F":
        raise ValueError("its greys are floating-point numbers, and nothing says which is white")
    if not image.mode.startswith("I"):
        return image
    greys = np.asarray(image).astype(np.int64)  # mode I has 32 bits, and is also how greys of a PGM of 16 are opened
    if greys.min() < 0 or greys.max() > WHITE:
        raise ValueError("its greys have more than 16 bits, and nothing says which is white")
    return Image.fromarray(((greys * 255 + WHITE // 2) // WHITE).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as it was seen; a TIFF is that already, once it is loaded."""
    try:
        turn = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # notes that cannot be read: the pixels can, and are taken as they lie
        return image
    return image.transpose(turn) if turn is not None else image


def _problem(path: Path, error: Exception) -> Problem:
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(path, error)
    reason = "" if isinstance(error, UnidentifiedImageError) else f": {str(error) or type(error).__name__}"
    fix = "remove the file, or save the image again as a PNG or JPEG of 8 bits"
    return Problem(f"not an image that can be read{reason}", fix, str(path))
