"""The binary forms of MNIST and CIFAR: what was written is read, and a file that lies about itself is refused."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data.images.binary import read_cifar, read_cifar_names, read_idx
from tests.data.images.archives import idx, tar_gz

ARRAY = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


class Counting(io.BytesIO):
    """A file that notes the most that was asked of it."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.most = max(self.most, size if size is not None and size >= 0 else 1 << 62)
        return super().read(size)


def test_what_was_written_is_read() -> None:
    assert np.array_equal(read_idx(io.BytesIO(idx(ARRAY)), (2, 3, 4)), ARRAY)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no idx file"),
        (b"\x80\x04\x95" + bytes(100), "no idx file"),
        (idx(ARRAY)[:-1], "less than 24 values"),
        (idx(ARRAY) + b"\0", "more than 24 values"),
        (idx(ARRAY.reshape(6, 4)), "no idx file"),
        (bytes((0, 0, 9, 3)) + idx(ARRAY)[4:], "no idx file"),  # signed bytes
        (idx(ARRAY.reshape(3, 2, 4)), "3 x 2 x 4 instead of 2 x 3 x 4"),
        (bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "instead of 2 x 3 x 4"),
    ],
)
def test_an_idx_file_that_lies_is_refused(content: bytes, expected: str) -> None:
    file = Counting(content)
    with pytest.raises(ValueError, match=expected):
        read_idx(file, (2, 3, 4))
    assert file.most <= ARRAY.size


@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_a_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert read_idx(io.BytesIO(content), (2,)).shape == (2,)


def record(labels: bytes, seed: int) -> bytes:
    return labels + np.random.default_rng(seed).integers(0, 256, 3072, dtype=np.uint8).tobytes()


def test_a_record_is_labels_then_three_planes(tmp_path: Path) -> None:
    records = [record(bytes((9, i)), i) for i in range(4)]
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_gz({"b.bin": b"".join(records[2:]), "a.bin": b"".join(records[:2]), "names": b"x\ny\n\n"}))
    pixels, labels = read_cifar(path, ["a.bin", "b.bin"], 4, 2)
    assert labels.tolist() == [0, 1, 2, 3]
    for image, written in zip(pixels, records):
        for colour in range(3):
            plane = written[2 + 1024 * colour : 2 + 1024 * (colour + 1)]
            assert image[:, :, colour].tobytes() == plane
    assert read_cifar_names(path, "names", 2) == ("x", "y")


@pytest.mark.parametrize("size", [3072, 3074])
def test_a_file_of_another_size_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_gz({"a.bin": bytes(size)}))
    with pytest.raises(ValueError, match=r"a\.bin is not the file"):
        read_cifar(path, ["a.bin"], 1, 1)


def test_a_missing_file_and_a_link_are_refused(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_gz({"other": b""}))
    with pytest.raises(ValueError, match=r"it has no a\.bin"):
        read_cifar(path, ["a.bin"], 1, 1)
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("a.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"a\.bin is not the file"):
        read_cifar(path, ["a.bin"], 1, 1)


@pytest.mark.parametrize("content", [b"a\n", b"\xff\n\n", b"x" * (1 << 17)])
def test_names_that_are_none_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_gz({"names": content}))
    with pytest.raises(ValueError):
        read_cifar_names(path, "names", 2)
