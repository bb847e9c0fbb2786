"""Trackers show a run in other programs; no failure of theirs ends a training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from app.finetune.tasks import TASKS
from app.finetune.train import resume_run, train_recipe
from app.runs import trackers
from app.runs.folder import Run
from app.runs.records import read_records
from tests.finetune import noisy


@pytest.fixture(autouse=True)
def _noisy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(TASKS, "linear-regression", lambda: noisy.Noisy)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


class Broken:
    """A service that works for a while."""

    def __init__(self, good: int) -> None:
        self.good, self.asked = good, 0

    def log_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        self.asked += 1
        if self.asked > self.good:
            raise ConnectionError("the service is away\nand more lines")

    def finalize(self, status: str) -> None:
        raise AssertionError("asked again after it failed")


@pytest.mark.parametrize("good", [0, 2])
def test_a_tracker_that_fails_warns_once_and_the_run_is_whole(
    good: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken(good)
    monkeypatch.setattr(trackers, "wandb", lambda *_: broken)
    run = train_recipe(noisy.recipe("tracking=[wandb]"), tmp_path).run
    shown = capsys.readouterr().err
    assert shown.count("warning: wandb failed, and the training continues without it: the service is away\n") == 1
    assert broken.asked == good + 1 and run.manifest()["finished"]


def test_a_tracker_that_is_not_installed_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr(trackers, "mlflow", lambda *_: __import__("mlflow"))
    assert train_recipe(noisy.recipe("tracking=[mlflow]"), tmp_path).run.manifest()["finished"]
    assert capsys.readouterr().err.count("warning: mlflow failed") == 1


def events(run: Run) -> dict[str, list[int]]:
    """Name to the steps that TensorBoard shows."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown: Any = accumulator.EventAccumulator(str(run.path))
    shown.Reload()
    return {name: [event.step for event in shown.Scalars(name)] for name in shown.Tags()["scalars"]}


def test_tensorboard_shows_every_record_once_also_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, seen = noisy.Noisy.loss, [0]

    def crashing(self: Any, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 20:  # in step 9, after the records of step 8; the last checkpoint is of step 6
            raise ZeroDivisionError
        return loss(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(noisy.Noisy, "loss", crashing)
        with pytest.raises(ZeroDivisionError):
            train_recipe(noisy.recipe(), tmp_path)
    run = resume_run(Run(next((tmp_path / "hello-linear").iterdir()))).run
    records = read_records(run.metrics)
    for name in ("train/loss", "dev/loss"):
        # Sorted: two event files of one second are read by their numbers as text, 10 before 9.
        assert sorted(events(run)[name]) == [record["step"] for record in records if name in record]


@pytest.mark.slow
def test_wandb_writes_into_the_run_without_a_key(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = train_recipe(noisy.recipe("tracking=[wandb]"), tmp_path).run
    (written,) = run.path.glob(f"wandb/offline-run-*-{run.path.name}/*.wandb")
    assert b"train/loss" in written.read_bytes()


@pytest.mark.slow
def test_mlflow_writes_into_the_run_without_a_server(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    run = train_recipe(noisy.recipe("tracking=[mlflow]"), tmp_path).run
    (written,) = run.path.glob("mlflow/*/*/metrics/train/loss")
    steps = [int(line.split()[2]) for line in written.read_text().splitlines()]
    assert steps == [record["step"] for record in read_records(run.metrics) if "train/loss" in record]
    assert run.manifest()["mlflow_run"] in str(written)


@pytest.mark.parametrize(
    ("netrc", "key", "known"),
    [("", "", False), ("", "secret", True), ("machine api.wandb.ai login u password p", "", True)],
)
def test_a_key_is_found_where_it_is_kept(
    netrc: str, key: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(netrc)
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert trackers._wandb_key() is known
