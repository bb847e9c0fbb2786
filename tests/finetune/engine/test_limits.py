"""What ends or shortens a training: `trainer.patience` and `trainer.eval_batches`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.config import load
from app.finetune.engine.checkpointing import Best
from app.finetune.engine.evaluation import evaluation_loader
from app.finetune.session import prepare
from app.finetune.tasks import TASKS
from app.finetune.tasks.base import Scores
from app.finetune.train import resume_run, train_recipe
from app.runs import checkpoints
from app.runs.folder import find_run
from app.runs.records import read_records
from tests.finetune import noisy


@pytest.fixture
def _noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "linear-regression", lambda: noisy.Noisy)


def scores_by_step(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let the n-th evaluation of a process find the n-th loss, the last one from then on."""
    seen = [0]

    def score(self: Any, predictions: Any, data: Any) -> Scores:
        seen[0] += 1
        return Scores({"loss": losses[min(seen[0], len(losses)) - 1]})

    monkeypatch.setattr(noisy.Noisy, "score", score)


@pytest.mark.usefixtures("_noisy")
def test_training_stops_after_so_many_evaluations_without_a_better_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores_by_step(monkeypatch, [3.0, 2.0, 2.5, 2.0, 1.0])
    run = train_recipe(noisy.recipe("trainer.eval_every=1", "trainer.patience=2"), tmp_path).run
    assert [r["step"] for r in read_records(run.metrics) if "dev/loss" in r] == [1, 2, 3, 4]
    assert run.manifest()["steps"] == 4 and run.manifest()["finished"]
    assert [checkpoints.step_of(path) for path in checkpoints.bests(run.checkpoints)][-1] == 2


@pytest.mark.usefixtures("_noisy")
def test_patience_is_off_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores_by_step(monkeypatch, [1.0, 2.0])
    run = train_recipe(noisy.recipe("trainer.eval_every=1"), tmp_path).run
    assert run.manifest()["steps"] == 12


@pytest.mark.usefixtures("_noisy")
@pytest.mark.parametrize("stop_in", [3, 4])
def test_a_resumed_training_stops_at_the_same_step(
    stop_in: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluations that did not improve before the interruption count after it."""
    settings = ("trainer.eval_every=1", "trainer.checkpoint_every=1", "trainer.patience=2")
    losses = [3.0, 2.0, 2.5, 2.0, 1.0]
    scores_by_step(monkeypatch, losses)
    whole = train_recipe(noisy.recipe(*settings), tmp_path / "whole").run
    step, seen = noisy.Noisy.loss, [0]

    def crashing(self: Any, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == {3: 7, 4: 8}[stop_in]:  # in step 3 or 4: steps take 3, 3, 1 and 3 micro-batches
            raise ZeroDivisionError
        return step(self, *arguments)

    with monkeypatch.context() as patched:
        scores_by_step(patched, losses)
        patched.setattr(noisy.Noisy, "loss", crashing)
        with pytest.raises(ZeroDivisionError):
            train_recipe(noisy.recipe(*settings), tmp_path / "resumed")
    scores_by_step(monkeypatch, losses[stop_in - 1 :])
    resumed = resume_run(find_run("hello-linear", tmp_path / "resumed")).run
    assert resumed.manifest()["steps"] == whole.manifest()["steps"] == 4
    assert resumed.manifest()["weights_sha256"] == whole.manifest()["weights_sha256"]
    ours, theirs = (
        [{k: v for k, v in r.items() if not k.endswith("/s")} for r in read_records(run.metrics)]
        for run in (resumed, whole)
    )
    assert ours == theirs


def test_a_score_that_is_no_number_is_never_better() -> None:
    best = Best().updated(Scores({"loss": float("nan")}), 1, "loss", False)
    best = best.updated(Scores({"loss": 2.0}), 2, "loss", False)
    after = best.updated(Scores({"loss": float("nan")}), 3, "loss", False)
    assert (best.step, after.step, after.evaluations_since) == (2, 2, 1)
    assert after.updated(Scores({"loss": 2.0}), 4, "loss", False).evaluations_since == 2, "equal is not better"


def long_text(folder: Path) -> list[str]:
    (folder / "train.txt").write_text("the quick brown fox\n" * 200)
    (folder / "dev.txt").write_text("jumps over the lazy dog\n" * 4000)
    sizes = ["model.layers=1", "model.width=16", "model.heads=2", "model.context=16", "data.stride=16"]
    return [f"data.train={folder}/train.txt", f"data.dev={folder}/dev.txt", *sizes]


def test_a_language_models_evaluations_take_a_tenth_of_the_training(tmp_path: Path) -> None:
    """40 steps train on 480 windows; a window of dev costs a third as much, so a tenth of the time scores 144."""
    settings = [*long_text(tmp_path), "trainer.max_steps=40", "trainer.eval_every=40"]
    run = train_recipe(load("gpt-char", settings), tmp_path / "runs").run
    scored = run.manifest()["dev_scored"]
    assert scored["of"] == 6000 and scored["examples"] == 144
    assert "144 of 6,000" in run.report.read_text()


@pytest.mark.slow
def test_eval_batches_sets_the_limit(tmp_path: Path) -> None:
    settings = [*long_text(tmp_path), "trainer.max_steps=2", "trainer.eval_every=1"]
    found = {}
    for most in ("2", "100000"):
        session = prepare(load("gpt-char", [*settings, f"trainer.eval_batches={most}"]))
        found[most] = session.evaluate("dev")
    assert len(found["2"].predictions) == 2 * 24 and len(found["100000"].predictions) == 6000
    spread = [prediction.index for prediction in found["2"].predictions]
    assert spread[0] < 3000 <= spread[-1], "the batches are spread over dev, not its beginning"


def test_other_tasks_score_all_of_dev(tmp_path: Path) -> None:
    session = prepare(load("hello-linear", ["trainer.max_steps=1", "trainer.batch_size=10"]))
    assert len(session.evaluate("dev").predictions) == 1000
    limited = evaluation_loader(session.splits.dev, session.recipe, most_batches=3)
    assert sum(len(batch) for batch in limited) == 60
    assert len({int(index) for batch in limited for index in batch.index}) == 60
