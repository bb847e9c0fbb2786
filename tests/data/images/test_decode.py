"""One image as pixels, whatever its format, bit depth and orientation, or an error with its path."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from app.data.images.decode import MOST_PIXELS, decode_image
from app.errors import DataError

GREYS = np.array([[0, 257], [32_896, 65_535]], dtype=np.uint16)
IN_EIGHT_BITS = [[0, 1], [128, 255]]
SEEN = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
# How a camera stores SEEN: the side of row 0 and of column 0 in the stored image (Exif 2.32, 4.6.4).
STORED = {
    1: SEEN,  # top, left
    2: SEEN[:, ::-1],  # top, right
    3: SEEN[::-1, ::-1],  # bottom, right
    4: SEEN[::-1],  # bottom, left
    5: SEEN.T,  # left, top
    6: SEEN[:, ::-1].T,  # right, top
    7: SEEN[::-1, ::-1].T,  # right, bottom
    8: SEEN[::-1].T,  # left, bottom
}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
FORMATS = ["png", "jpg", "bmp", "gif", "webp", "ppm", "tif"]


def problem_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        decode_image(path, 4, 1)
    (problem,) = caught.value.problems
    assert problem.where == str(path) and problem.fix
    return problem.what


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_greys_of_16_bits_are_scaled(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(GREYS).save(tmp_path / f"a.{suffix}")
    assert decode_image(tmp_path / f"a.{suffix}", 2, 1).tolist() == [IN_EIGHT_BITS]
    assert decode_image(tmp_path / f"a.{suffix}", 2, 3).tolist() == [IN_EIGHT_BITS] * 3


def test_greys_of_16_bits_in_a_pgm_are_scaled_for_any_white(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 2 65535\n" + GREYS.astype(">u2").tobytes())
    assert decode_image(path, 2, 1).tolist() == [IN_EIGHT_BITS]
    path.write_bytes(b"P5 2 1 1000\n" + np.array([0, 1000], dtype=">u2").tobytes())
    assert decode_image(path, 2, 1)[0, 0].tolist() == [0, 255]


@pytest.mark.parametrize("greys", [np.array([[70_000, 0]], dtype=np.int32), np.array([[0.5, 1.0]], dtype=np.float32)])
def test_greys_of_unknown_range_are_refused(greys: np.ndarray[Any, Any], tmp_path: Path) -> None:
    Image.fromarray(greys).save(tmp_path / "a.tif")
    assert "nothing says which is white" in problem_of(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_turned_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    stored.save(tmp_path / f"a.{suffix}", exif=exif, lossless=True)  # for WebP; the others always are
    assert decode_image(tmp_path / f"a.{suffix}", 4, 1).tolist() == [SEEN.tolist()]


def test_unreadable_exif_data_is_ignored(tmp_path: Path) -> None:
    Image.fromarray(SEEN).save(tmp_path / "a.png", exif=b"Exif\x00\x00no notes")
    assert decode_image(tmp_path / "a.png", 4, 1).tolist() == [SEEN.tolist()]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_truncated_file_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    NOISE.save(path)
    assert decode_image(path, 4, 3).shape == (3, 4, 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not an image that can be read" in problem_of(path)


def test_a_file_that_is_not_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("some text")
    assert problem_of(tmp_path / "a.png") == "not an image that can be read"


def test_only_listed_formats_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EPS with the name of a PNG: Pillow would start Ghostscript, a program that runs what is in the file."""
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    NOISE.save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    assert problem_of(tmp_path / "a.png") == "not an image that can be read"


@pytest.mark.parametrize("suffix", [*FORMATS, "jpeg", "pgm", "tiff"])
def test_every_suffix_has_its_format(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(SEEN).save(tmp_path / f"a.{suffix}")
    assert decode_image(tmp_path / f"a.{suffix}", 4, 1).shape == (1, 4, 4)


def test_a_bomb_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 14_000, 13_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b"")]
    content = b"".join(struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    assert problem_of(tmp_path / "a.png") == f"it has more than {MOST_PIXELS:,} pixels"
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) == MOST_PIXELS


def test_a_pipe_is_refused_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "a pipe or a device" in problem_of(tmp_path / "a.png")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FORMATS), st.integers(0, 400), st.binary(min_size=1, max_size=8))
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it finds in a broken file
def test_any_bytes_give_an_image_or_a_data_error(tmp_path: Path, suffix: str, place: int, change: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(SEEN).save(path)
    content = bytearray(path.read_bytes())
    content[place : place + len(change)] = change
    path.write_bytes(content)
    try:
        assert decode_image(path, 4, 1).shape == (1, 4, 4)
    except DataError as error:
        assert [problem.where for problem in error.problems] == [str(path)]
