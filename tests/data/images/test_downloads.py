"""torchvision's sets without torchvision's readers: nothing is unpickled, whatever lies in the cache."""

from __future__ import annotations

import gzip
import inspect
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from app.data.images.sources import read_labelled
from app.errors import DataError
from tests.data.images.archives import idx, put, small_cifar, small_mnist

DARK, LIGHT = (np.full((6, 5, 5), grey, dtype=np.uint8) for grey in (40, 200))

PICKLES_REFUSED = inspect.signature(torch.load).parameters["weights_only"].default is not False


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Writes:
    """Unpickled, it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


def plant(folder: Path, names: list[str], marker: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(pickle.dumps(Writes(marker)))


@pytest.fixture
def no_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if anything is unpickled."""
    for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("something was unpickled"))


@pytest.mark.usefixtures("no_pickles")
def test_mnist_ignores_a_planted_pickle(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_mnist(cache, monkeypatch, DARK, LIGHT)
    plant(folder / "processed", ["training.pt", "test.pt"], tmp_path / "marker")
    found = read_labelled("torchvision:MNIST", side=5, channels=1)
    assert not (tmp_path / "marker").exists()
    assert found.labels is not None and found.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.pixels.shape == (6, 1, 5, 5) and set(found.pixels.ravel().tolist()) == {40}
    assert found.classes[0] == "0 - zero"
    assert set(read_labelled("torchvision:MNIST", side=5, channels=1, test=True).pixels.ravel().tolist()) == {200}


@pytest.mark.skipif(PICKLES_REFUSED, reason="this torch refuses such pickles")
def test_the_planted_pickle_would_run_in_torchvision(tmp_path: Path) -> None:
    """What the test above plants is what torchvision's own reader runs."""
    plant(tmp_path / "MNIST" / "processed", ["training.pt", "test.pt"], tmp_path / "marker")
    with pytest.raises(Exception):  # noqa: B017  # the pickle is no data set, so anything
        torchvision.datasets.MNIST(str(tmp_path), train=True)
    assert (tmp_path / "marker").exists()


@pytest.mark.usefixtures("no_pickles")
@pytest.mark.parametrize(("name", "labels"), [("CIFAR10", b"\x07"), ("CIFAR100", b"\x13\x63")])
def test_cifar_is_read_from_its_binary_form(
    name: str, labels: bytes, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = getattr(torchvision.datasets, name)
    planted = [file for file, _ in (*source.train_list, *source.test_list)] + [source.meta["filename"]]
    plant(cache / "torchvision" / source.base_folder, planted, tmp_path / "marker")
    small_cifar(cache, monkeypatch, name, [labels + bytes((10,)) * 1024 + bytes((20,)) * 1024 + bytes((30,)) * 1024])
    found = read_labelled(f"torchvision:{name}", side=32, channels=3, test=True)
    assert not (tmp_path / "marker").exists()
    assert found.labels is not None and found.labels.tolist() == [labels[-1]]
    assert found.pixels[0, :, 0, 0].tolist() == [10, 20, 30]
    assert found.classes[labels[-1]] == f"class {labels[-1]}"
    assert len(read_labelled(f"torchvision:{name}", side=4, channels=1)) == len(source.train_list)


def test_another_archive_than_the_authors_is_not_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_mnist(cache, monkeypatch, DARK, LIGHT)
    asked = []

    def offline(url: str, *_: object) -> None:
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", offline)
    put(folder / "raw" / "train-images-idx3-ubyte.gz", gzip.compress(idx(LIGHT)))
    with pytest.raises(DataError, match="MNIST cannot be downloaded: no network"):
        read_labelled("torchvision:MNIST", side=5, channels=1)
    assert len(asked) == len(torchvision.datasets.MNIST.mirrors)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (gzip.compress(idx(DARK[:3])), "3 x 5 x 5 instead of 6 x 5 x 5"),
        (gzip.compress(idx(DARK))[:-9], "it cannot be used"),
        (b"no archive", "it cannot be used"),
    ],
)
def test_a_damaged_archive_is_named(
    content: bytes, expected: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_mnist(cache, monkeypatch, DARK, LIGHT)
    file, _ = torchvision.datasets.MNIST.resources[0]
    resources = [(file, put(folder / "raw" / file, content)), *torchvision.datasets.MNIST.resources[1:]]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    with pytest.raises(DataError, match=expected):
        read_labelled("torchvision:MNIST", side=5, channels=1)


def test_a_label_beyond_the_classes_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_cifar(cache, monkeypatch, "CIFAR10", [bytes((10,)) + bytes(3072)])
    with pytest.raises(DataError, match="a label beyond its 10 classes"):
        read_labelled("torchvision:CIFAR10", side=4, channels=3)


def test_a_pipe_in_the_cache_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_mnist(cache, monkeypatch, DARK, LIGHT)
    path = folder / "raw" / "train-images-idx3-ubyte.gz"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="a pipe or a device"):
        read_labelled("torchvision:MNIST", side=5, channels=1)
