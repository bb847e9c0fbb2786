"""Labelled images: folders, digits, and every bad file named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.data import images as module
from app.data.images import Images, labelled, unlabelled
from app.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, black and white, of different sizes and kinds."""
    for name, grey, mode in (("black", 0, "L"), ("white", 255, "RGBA")):
        (tmp_path / "set" / name / "deeper").mkdir(parents=True)
        for i, size in enumerate([(8, 8), (30, 10)]):
            colour = grey if mode == "L" else (grey, grey, grey, 255)
            Image.new(mode, size, colour).save(tmp_path / "set" / name / ("deeper" if i else "") / f"{i}.png")
    return tmp_path / "set"


def test_a_folder_for_each_class(folder: Path) -> None:
    found = labelled(str(folder), side=6, channels=3)
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


def test_decoding_is_done_once_and_again_for_another_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = labelled(str(folder), side=6, channels=1)
    monkeypatch.setattr(module, "_decoded", lambda *_: pytest.fail("decoded again though cached"))
    again = labelled(str(folder), side=6, channels=1)
    assert np.array_equal(first.pixels, again.pixels) and first.digest == again.digest
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        labelled(str(folder), side=7, channels=1)


def test_every_bad_file_is_named(folder: Path) -> None:
    (folder / "black" / "a.png").write_bytes(b"no image")
    whole = (folder / "white" / "0.png").read_bytes()
    (folder / "white" / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError) as caught:
        labelled(str(folder), side=6, channels=1)
    assert [Path(problem.where).name for problem in caught.value.problems] == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["nowhere", "torchvision:MINST", "torchvision:"])
def test_no_such_images(name: str) -> None:
    with pytest.raises(DataError):
        labelled(name, side=6, channels=1)


def test_one_class_and_no_images_are_errors(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(DataError, match="1 classes"):
        labelled(str(tmp_path), side=6, channels=1)
    (tmp_path / "two").mkdir()
    with pytest.raises(DataError, match="no images"):
        labelled(str(tmp_path), side=6, channels=1)


def test_the_digits_are_whole() -> None:
    found = labelled("digits", side=8, channels=1)
    assert found.pixels.shape == (1797, 1, 8, 8) and found.pixels.max() == 255
    assert found.labels is not None and len(found.classes) == 10
    assert labelled("digits", side=12, channels=3).pixels.shape == (1797, 3, 12, 12)


def test_parts_are_disjoint_whole_and_of_all_classes() -> None:
    labels = np.repeat([0, 1], [100, 40])
    images = Images(np.arange(140, dtype=np.uint8).reshape(140, 1, 1, 1), labels, ("a", "b"), "digest")
    dev, test, train = images.divided([0.1, 0.2], seed=3)
    assert sorted(np.concatenate([part.pixels.ravel() for part in (dev, test, train)]).tolist()) == list(range(140))
    for part, share in ((dev, 0.1), (test, 0.2), (train, 0.7)):
        assert part.labels is not None
        assert np.bincount(part.labels).tolist() == [round(100 * share), round(40 * share)]
    assert len({dev.digest, test.digest, train.digest}) == 3
    again = images.divided([0.1, 0.2], seed=3)[0]
    other = images.divided([0.1, 0.2], seed=4)[0]
    assert np.array_equal(dev.pixels, again.pixels) and not np.array_equal(dev.pixels, other.pixels)


def test_unlabelled_images_by_file_and_by_folder(folder: Path) -> None:
    one = unlabelled(str(folder / "white" / "0.png"), 6, 1, ("a", "b"))
    assert len(one) == 1 and one.labels is None and one[np.array([0])].labels is None
    assert len(unlabelled(str(folder), 6, 1, ("a", "b"))) == 4
    with pytest.raises(DataError, match="cannot be read"):
        unlabelled(str(folder / "gone.png"), 6, 1, ("a", "b"))
