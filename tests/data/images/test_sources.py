"""Labelled images by name, and how they are split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.data.images.dataset import Images
from app.data.images.sources import read_labelled, read_labelled_splits
from app.errors import DataError
from app.hardware import memory
from tests.data.images.archives import small_mnist


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["nowhere", "torchvision:MINST", "torchvision:"])
def test_an_unknown_name_is_a_data_error(name: str) -> None:
    with pytest.raises(DataError):
        read_labelled(name, side=6, channels=1)


def test_all_digits_are_read_in_any_size() -> None:
    found = read_labelled("digits", side=8, channels=1)
    assert found.pixels.shape == (1797, 1, 8, 8) and found.pixels.max() == 255
    assert found.labels is not None and len(found.classes) == 10
    assert read_labelled("digits", side=12, channels=3).pixels.shape == (1797, 3, 12, 12)


def test_a_stratified_split_is_disjoint_complete_and_balanced() -> None:
    labels = np.repeat([0, 1], [100, 40])
    images = Images(np.arange(140, dtype=np.uint8).reshape(140, 1, 1, 1), labels, ("a", "b"), "digest")
    dev, test, train = images.stratified_split([0.1, 0.2], seed=3)
    assert sorted(np.concatenate([part.pixels.ravel() for part in (dev, test, train)]).tolist()) == list(range(140))
    for part, share in ((dev, 0.1), (test, 0.2), (train, 0.7)):
        assert part.labels is not None
        assert np.bincount(part.labels).tolist() == [round(100 * share), round(40 * share)]
    assert len({dev.digest, test.digest, train.digest}) == 3
    again = images.stratified_split([0.1, 0.2], seed=3)[0]
    other = images.stratified_split([0.1, 0.2], seed=4)[0]
    assert np.array_equal(dev.pixels, again.pixels) and not np.array_equal(dev.pixels, other.pixels)


def test_only_train_is_the_training_part_of_a_torchvision_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dark, light = (np.full((4, 5, 5), grey, dtype=np.uint8) for grey in (40, 200))
    small_mnist(tmp_path / "cache", monkeypatch, dark, light)
    name = "torchvision:MNIST"
    found = read_labelled_splits({"train": name, "dev": name, "test": name}, side=5, channels=1)
    assert {split: int(images.pixels.max()) for split, images in found.items()} == {
        "train": 40,
        "dev": 200,
        "test": 200,
    }


def test_the_problems_of_all_splits_are_reported_together(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("L", (4, 4)).save(tmp_path / split / name / "0.png")
        (tmp_path / split / "a" / "1.png").write_bytes(b"no image")
    names = {split: str(tmp_path / split) for split in ("train", "dev", "test")}
    with pytest.raises(DataError) as caught:
        read_labelled_splits(names, side=4, channels=1)
    message = str(caught.value)
    assert len(caught.value.problems) == 3
    assert [part in message for part in ("train/a/1.png", "dev/a/1.png", "no such folder")] == [True] * 3


@pytest.mark.parametrize("side", [4096])
def test_images_that_no_memory_holds_are_refused_before_they_are_made(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 16 * 10**9)
    with pytest.raises(
        DataError, match=r"1,797 images of 4096 x 4096 pixels in 3 channels: 181 GB, and this machine has 16.0 GB"
    ):
        read_labelled("digits", side=side, channels=3)
