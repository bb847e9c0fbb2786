"""digits-cnn, as it is shipped, and on a folder of images."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.config import load
from app.errors import DataError
from app.finetune.evaluate import evaluate_run, predict_lines
from app.finetune.session import prepare
from app.finetune.train import train_recipe
from tests.data.images.archives import small_mnist

TINY = [
    "model.width=8",
    "model.hidden=16",
    "model.dropout=0",
    "data.side=4",
    "trainer.max_epochs=12",
    "trainer.batch_size=8",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, grey in (("dark", 20), ("light", 230)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("L", (5, 5), grey + i).save(tmp_path / "set" / name / f"{i:02}.png")
    return tmp_path / "set"


def test_a_folder_of_images_is_learned_and_predicted(folder: Path, tmp_path: Path) -> None:
    recipe = load("digits-cnn", [f"data.train={folder}", *TINY])
    finished = train_recipe(recipe, tmp_path / "runs")
    assert finished.scores["test"].values["accuracy"] == 1.0
    assert evaluate_run(finished.run, recipe, "test").values == finished.scores["test"].values
    lines = list(predict_lines(finished.run, str(folder)))
    assert [Path(line["file"]).parent.name for line in lines] == [line["label"] for line in lines]
    assert json.dumps(lines[0])


def test_other_classes_than_those_of_train_are_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("dark", "pale"):
        (tmp_path / "other" / name).mkdir(parents=True)
        Image.new("L", (5, 5), 0).save(tmp_path / "other" / name / "0.png")
    with pytest.raises(DataError, match="classes of test are dark, pale"):
        prepare(load("digits-cnn", [f"data.train={folder}", f"data.test={tmp_path / 'other'}", *TINY]))


def test_dev_never_is_torchvisions_training_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dark, light = (np.full((40, 4, 4), grey, dtype=np.uint8) for grey in (40, 200))
    small_mnist(tmp_path / "cache", monkeypatch, dark, light)
    name = "torchvision:MNIST"
    session = prepare(load("digits-cnn", [f"data.train={name}", f"data.dev={name}", *TINY]))
    greys = {split: getattr(session.splits, split).pixels for split in ("train", "dev")}
    assert {split: (int(pixels.min()), int(pixels.max())) for split, pixels in greys.items()} == {
        "train": (40, 40),
        "dev": (200, 200),
    }


def test_too_few_images_for_the_parts_are_an_error(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (5, 5), 0).save(tmp_path / name / "0.png")
    with pytest.raises(DataError, match="no images are left for dev"):
        prepare(load("digits-cnn", [f"data.train={tmp_path}", *TINY]))


@pytest.mark.slow
def test_the_shipped_recipe_reads_digits(tmp_path: Path) -> None:
    started = time.process_time()
    finished = train_recipe(load("digits-cnn"), tmp_path)
    assert finished.scores["test"].values["accuracy"] >= 0.98
    assert time.process_time() - started < 60  # two cores for 30 s, whatever else they do
