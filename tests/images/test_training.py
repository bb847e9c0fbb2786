"""Training in the container is training on the host: the same numbers to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.config import shipped_recipes
from app.paths import cache_folder
from tests.images.boxes import Boxes
from tests.images.conftest import ROOT

REVIEWS = [
    ("a joy from its first minute to its last", "positive"),
    ("dull, loud and far too long", "negative"),
    ("the cast is wonderful and the story moves", "positive"),
    ("nothing in it works, least of all the jokes", "negative"),
] * 4

# One thread: with more, sums may be added up in another order.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def natively(arguments: list[str], runs: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "app.cli", "train", *arguments, "--runs", str(runs), "--json"]
    env = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return outcome(json.loads(done.stdout), runs)


def in_container(boxes: Boxes, image: str, arguments: list[str], runs: Path, **options: Any) -> dict[str, Any]:
    runs.mkdir()
    runs.chmod(0o777)
    volumes = {str(runs): {"bind": "/runs", "mode": "rw"}, **options.pop("volumes", {})}
    done = boxes.run(
        image, "app", "train", *arguments, "--runs", "/runs", "--json",
        volumes=volumes, environment=ENVIRONMENT, shm_size="1g", timeout=280, **options,
    )  # fmt: skip
    assert done.code == 0, done.err[-3000:]
    return outcome(json.loads(done.out), runs)


def outcome(summary: dict[str, Any], runs: Path) -> dict[str, Any]:
    """Scores, and the loss of every step, of the one run in a folder."""
    (metrics,) = runs.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    losses = [{k: v for k, v in row.items() if "loss" in k} for row in rows]
    return {"scores": summary["scores"], "losses": [row for row in losses if row]}


@pytest.fixture(autouse=True)
def _same_torch() -> None:
    import torch

    if not torch.__version__.startswith("2.0.1"):
        pytest.skip(f"the tests run on torch {torch.__version__}, which adds up in another order than the image's")


def test_linear_regression_is_the_same(boxes: Boxes, runtime: str, tmp_path: Path) -> None:
    arguments = ["hello-linear", "trainer.max_epochs=20"]
    here = natively(arguments, tmp_path / "here")
    there = in_container(boxes, runtime, arguments, tmp_path / "there")
    # The closed form is numpy's, whose solver adds up in an order of its own on each machine.
    gaps = [run["scores"]["check"].pop("closed_form_gap") for run in (here, there)]
    assert gaps[0] == pytest.approx(gaps[1], rel=1e-9)
    assert here == there
    assert here["losses"]


def test_fine_tuning_an_encoder_is_the_same(boxes: Boxes, runtime: str, tmp_path: Path) -> None:
    """The real model of the main job, a few steps on a few sentences; the host's copy of it is mounted."""
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "dev", "test"):
        (data / f"{split}.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in REVIEWS))

    def arguments(folder: str) -> list[str]:
        files = [f"data.{split}={folder}/{split}.tsv" for split in ("train", "dev", "test")]
        return ["sentiment", "trainer.max_epochs=1", "trainer.precision=fp32", *files]

    here = natively(arguments(str(data)), tmp_path / "here")
    volumes = {
        str(cache_folder() / "models"): {"bind": "/cache/models", "mode": "ro"},
        str(data): {"bind": "/data", "mode": "ro"},
    }
    there = in_container(boxes, runtime, arguments("/data"), tmp_path / "there", volumes=volumes)
    assert here == there
    assert here["losses"]


FEW = ["trainer.max_steps=3", "trainer.precision=fp32"]
SMALLER = {"gpt2": ["model.pretrained=false", "model.layers=2", "data.length=64"]}


@pytest.mark.parametrize("recipe", sorted(set(shipped_recipes()) - {"hello-linear", "sentiment"}))
def test_the_first_steps_of_every_recipe_are_the_same(boxes: Boxes, runtime: str, tmp_path: Path, recipe: str) -> None:
    arguments = [recipe, *FEW, *SMALLER.get(recipe, [])]
    here = natively(arguments, tmp_path / "here")
    models = {str(cache_folder() / "models"): {"bind": "/cache/models", "mode": "ro"}}
    there = in_container(boxes, runtime, arguments, tmp_path / "there", volumes=models)
    assert here == there
    assert here["losses"]
