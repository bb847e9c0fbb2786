"""A small task that needs all that a resume has to restore: shuffling, dropout, running statistics."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from app import config
from app.cli import main
from app.data.batch import Batch, DataSet
from app.finetune import train as training
from app.finetune.tasks import TASKS
from app.finetune.tasks.base import Forward, Prediction
from app.finetune.tasks.linear_regression import LinearRegressionTask
from app.models.weights import load_weights
from app.runs import checkpoints
from app.schema import Recipe

EXAMPLES = 52  # batches of 8, 7 an epoch, accumulated by 3: steps of 3, 3 and 1 batches, the last of 4 examples


class Net(nn.Module):
    """A perceptron with dropout and a batch norm."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.layers(features)
        return out


class Noisy(LinearRegressionTask):
    """Can be made slow: `SLEEP_STEP` and `SLEEP_EVALUATION` in the environment are seconds a batch."""

    def model(self, train: DataSet) -> nn.Module:
        return Net(self.recipe.data.features)

    def load(self, folder: Path) -> nn.Module:
        model = Net(self.recipe.data.features)
        load_weights(model, folder)
        return model

    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        time.sleep(float(os.environ.get("SLEEP_STEP", 0)))
        return super().loss(forward, batch)

    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        time.sleep(float(os.environ.get("SLEEP_EVALUATION", 0)))
        return super().predict(forward, batch)

    def verify(self, model: nn.Module) -> Any:
        return None


def register() -> None:
    """Make `linear-regression` mean the noisy task in this process."""
    TASKS["linear-regression"] = lambda: Noisy


SETTINGS = (
    f"data.examples={EXAMPLES}",
    "trainer.batch_size=8",
    "trainer.accumulate=3",
    "trainer.max_epochs=4",
    "trainer.eval_every=null",
    "trainer.log_every=2",
    "optimizer.name=adamw",
    "optimizer.lr=0.01",
    "schedule.name=cosine",
    "schedule.warmup=2",
)


def recipe(*overrides: str) -> Recipe:
    """The recipe of the noisy task: 12 optimizer steps."""
    return config.load("hello-linear", [*SETTINGS, *overrides])


def train(arguments: list[str], log: Path, environment: dict[str, str], slow_save: float = 0.0) -> None:
    """`app train` of the noisy task in a separate process, with its output in a file; saving may be made slow."""
    register()
    torch.set_num_threads(1)
    os.environ.update(environment)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    write = checkpoints.write_tensors

    def slow(tensors: dict[str, Tensor], path: Path) -> None:
        print("saving", flush=True)
        time.sleep(slow_save)
        write(tensors, path)

    checkpoints.write_tensors = slow
    assert training  # imported here, so that a process that is forked from one that knows this module starts at once
    sys.exit(main(["train", *arguments]))
