"""Speeds are honest: time spent on waiting for data is in them, evaluation is not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.config import load
from app.data.generated import Points
from app.finetune.session import prepare
from app.finetune.tasks.linear_regression import LinearRegressionTask
from app.finetune.train import train_recipe
from app.schema import LinearRegression

EPOCHS, PAUSE = 4, 0.05


def slowed(kind: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = getattr(kind, name)

    def slow(*arguments: Any) -> Any:
        time.sleep(PAUSE)
        return plain(*arguments)

    monkeypatch.setattr(kind, name, slow)


def test_waiting_for_data_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    session = prepare(load("hello-linear", [f"trainer.max_epochs={EPOCHS}"]))
    slowed(Points, "__getitem__", monkeypatch)
    session.fit()
    assert session.progress.total_seconds >= EPOCHS * PAUSE


def test_evaluation_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("hello-linear", [f"trainer.max_epochs={EPOCHS}", "trainer.eval_every=1"])
    slowed(LinearRegressionTask, "predict", monkeypatch)
    assert isinstance(recipe, LinearRegression)
    finished = train_recipe(recipe, tmp_path)
    assert finished.seconds > EPOCHS * PAUSE
    assert EPOCHS * recipe.data.examples / finished.speeds["points/s"] < EPOCHS * PAUSE
