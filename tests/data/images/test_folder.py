"""Images from files: folders of classes, images without classes, and every bad file named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.data.images import folder as image_folder
from app.data.images.folder import read_unlabelled
from app.data.images.sources import read_labelled
from app.data.lines import MAX_PROBLEMS
from app.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two classes, black and white, of images in different sizes and modes."""
    for name, grey, mode in (("black", 0, "L"), ("white", 255, "RGBA")):
        (tmp_path / "set" / name / "deeper").mkdir(parents=True)
        for i, size in enumerate([(8, 8), (30, 10)]):
            colour = grey if mode == "L" else (grey, grey, grey, 255)
            Image.new(mode, size, colour).save(tmp_path / "set" / name / ("deeper" if i else "") / f"{i}.png")
    return tmp_path / "set"


def test_each_folder_is_a_class(folder: Path) -> None:
    found = read_labelled(str(folder), side=6, channels=3)
    assert found.classes == ("black", "white")
    assert found.pixels.shape == (4, 3, 6, 6)
    assert found.labels is not None
    assert [(int(label), int(p.min()), int(p.max())) for label, p in zip(found.labels, found.pixels)] == [
        (0, 0, 0),
        (0, 0, 0),
        (1, 255, 255),
        (1, 255, 255),
    ]
    batch = found[np.array([3, 0])]
    assert batch.inputs["pixels"].amin((1, 2, 3)).tolist() == [1.0, -1.0]


def test_images_are_decoded_once_for_each_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_labelled(str(folder), side=6, channels=1)
    monkeypatch.setattr(image_folder, "decode_image", lambda *_: pytest.fail("decoded again though cached"))
    again = read_labelled(str(folder), side=6, channels=1)
    assert np.array_equal(first.pixels, again.pixels) and first.digest == again.digest
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        read_labelled(str(folder), side=7, channels=1)


def test_every_bad_file_is_named(folder: Path) -> None:
    (folder / "black" / "a.png").write_bytes(b"no image")
    whole = (folder / "white" / "0.png").read_bytes()
    (folder / "white" / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        read_labelled(str(folder), side=6, channels=1)
    assert [Path(problem.where).name for problem in caught.value.problems] == ["a.png", "b.png"]


def test_one_class_and_no_images_are_errors(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(DataError, match="1 classes"):
        read_labelled(str(tmp_path), side=6, channels=1)
    (tmp_path / "two").mkdir()
    with pytest.raises(DataError, match="no images"):
        read_labelled(str(tmp_path), side=6, channels=1)


def test_unlabelled_images_are_a_file_or_a_folder(folder: Path) -> None:
    one = read_unlabelled(str(folder / "white" / "0.png"), 6, 1, ("a", "b"))
    assert len(one) == 1 and one.labels is None and one[np.array([0])].labels is None
    assert len(read_unlabelled(str(folder), 6, 1, ("a", "b"))) == 4
    with pytest.raises(DataError, match="cannot be read"):
        read_unlabelled(str(folder / "gone.png"), 6, 1, ("a", "b"))


def test_a_long_list_of_bad_files_is_cut_and_the_rest_counted(folder: Path) -> None:
    for i in range(MAX_PROBLEMS + 3):
        (folder / "black" / f"bad{i:02}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        read_labelled(str(folder), side=6, channels=1)
    assert len(caught.value.problems) == MAX_PROBLEMS + 1
    assert caught.value.problems[-1].what == "3 more files like these"


def test_a_pipe_in_a_folder_is_named_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "black" / "a.png")
    with pytest.raises(DataError, match="a pipe or a device") as caught:
        read_labelled(str(folder), 6, 1)
    assert [Path(problem.where).name for problem in caught.value.problems] == ["a.png"]
    with pytest.raises(DataError, match="a pipe or a device"):
        read_unlabelled(str(folder / "black" / "a.png"), 6, 1, ())
