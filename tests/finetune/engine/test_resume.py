"""A run that was stopped and resumed is the run that was not: the same bits in weights, optimizer and records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.errors import ConfigError, DataError, RunError
from app.finetune.engine.progress import Progress
from app.finetune.signals import STOP, Stopped
from app.finetune.tasks import TASKS
from app.finetune.train import resume_run, train_recipe
from app.runs import checkpoints
from app.runs.folder import Run, find_run
from app.runs.records import read_records
from tests.finetune import noisy

STEPS = 12


@pytest.fixture(autouse=True)
def _noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "linear-regression", lambda: noisy.Noisy)


class CrashError(Exception):
    """What stands for a crash."""


def crash_at(monkeypatch: pytest.MonkeyPatch, micro_batch: int, error: BaseException) -> None:
    """Raise in the `micro_batch`-th forward pass of a training, counted from 1."""
    seen = [0]
    loss = noisy.Noisy.loss

    def failing(self: Any, forward: Any, batch: Any) -> Any:
        seen[0] += 1
        found = loss(self, forward, batch)
        if seen[0] == micro_batch:
            raise error
        return found

    monkeypatch.setattr(noisy.Noisy, "loss", failing)


def final(run: Run) -> dict[str, Any]:
    """Everything in the last checkpoint, and the trained model."""
    state = checkpoints.load(checkpoints.steps(run.checkpoints)[-1])
    return {"checkpoint": state, "step": checkpoints.step_of(checkpoints.steps(run.checkpoints)[-1])}


def same(a: Any, b: Any, where: str = "") -> None:
    """Equal to the bit, whatever is nested in it, but for times, and bytes of records that hold speeds."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"seconds", "total_seconds", "records"}:
            same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            same(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def records(run: Run) -> list[dict[str, Any]]:
    """The records without what is measured in time."""
    return [{k: v for k, v in r.items() if not k.endswith("/s")} for r in read_records(run.metrics)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbed."""
    before = TASKS["linear-regression"]
    noisy.register()
    run = train_recipe(noisy.recipe(), tmp_path_factory.mktemp("whole")).run
    TASKS["linear-regression"] = before
    return run


def test_the_run_is_what_the_tests_think(whole: Run) -> None:
    assert final(whole)["step"] == STEPS
    assert [r["step"] for r in records(whole) if "dev/loss" in r] == [3, 6, 9, 12]
    assert [r["step"] for r in records(whole) if "train/loss" in r] == [2, 4, 6, 8, 10, 12]


# 7 micro-batches an epoch in steps of 3, 3 and 1: within an accumulation, at its end, after an epoch, in the last one
@pytest.mark.parametrize(
    ("micro_batch", "every"), [(2, "null"), (9, "1"), (11, "2"), (15, "null"), (24, "2"), (28, "1")]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    whole: Run, micro_batch: int, every: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        crash_at(patched, micro_batch, CrashError())
        with pytest.raises(CrashError):
            train_recipe(noisy.recipe(f"trainer.checkpoint_every={every}"), tmp_path)
    torch.rand(3)  # whatever else drew from the generator meanwhile
    resumed = resume_run(find_run("hello-linear", tmp_path), ["trainer.checkpoint_every=null"]).run
    same(final(resumed), final(whole))
    assert records(resumed) == records(whole)
    assert (resumed.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("micro_batch", [1, 7, 12])
def test_a_signal_in_the_middle_of_a_step_loses_nothing(
    whole: Run, micro_batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        crash_at(patched, micro_batch, Stopped(15))
        with pytest.raises(Stopped):
            train_recipe(noisy.recipe("trainer.checkpoint_every=100"), tmp_path)
    STOP.held = 0
    run = find_run("hello-linear", tmp_path)
    done = [3, 6, 7, 10, 13, 14, 17, 20, 21, 24, 27, 28]
    assert checkpoints.step_of(checkpoints.steps(run.checkpoints)[-1]) == sum(n < micro_batch for n in done)
    resumed = resume_run(run).run
    same(final(resumed), final(whole))
    assert records(resumed) == records(whole)


@pytest.mark.parametrize("evaluation", [1, 4])
def test_a_signal_in_an_evaluation_repeats_only_that(
    whole: Run, evaluation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(noisy.Noisy, "score", stopping_in(noisy.Noisy.score, evaluation))
        with pytest.raises(Stopped):
            train_recipe(noisy.recipe(), tmp_path)
    STOP.held = 0
    run = find_run("hello-linear", tmp_path)
    assert checkpoints.step_of(checkpoints.steps(run.checkpoints)[-1]) == 3 * evaluation
    resumed = resume_run(run).run
    same(final(resumed)["checkpoint"]["weights"], final(whole)["checkpoint"]["weights"])
    assert records(resumed) == records(whole)
    assert (resumed.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def stopping_in(score: Any, evaluation: int) -> Any:
    """`score` that a signal reaches in the given evaluation, counted from 1."""
    seen = [0]

    def scored(self: Any, predictions: Any, data: Any) -> Any:
        seen[0] += 1
        if seen[0] == evaluation:
            raise Stopped(15)
        return score(self, predictions, data)

    return scored


def test_a_truncated_checkpoint_is_named_and_the_one_before_it_is_used(
    whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        crash_at(patched, 16, CrashError())
        with pytest.raises(CrashError):
            train_recipe(noisy.recipe(), tmp_path)
    run = find_run("hello-linear", tmp_path)
    tensors = checkpoints.steps(run.checkpoints)[-1] / checkpoints.TENSORS
    tensors.write_bytes(tensors.read_bytes()[:-1])
    resumed = resume_run(run).run
    said = capsys.readouterr().err
    assert "step-00000006: the checkpoint is damaged: tensors.safetensors" in said and "from step 3" in said
    same(final(resumed), final(whole))
    assert records(resumed) == records(whole)


def test_a_finished_run_has_nothing_to_resume(whole: Run) -> None:
    with pytest.raises(RunError, match="finished"):
        resume_run(whole)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("optimizer.lr=1", "optimizer.lr: 0.01 cannot become 1.0"),
        ("trainer.max_epochs=9", "the cosine schedule is stretched over the whole training"),
        ("seed=2", "seed: 1 cannot become 2"),
    ],
)
def test_an_override_that_makes_another_run_is_refused(whole: Run, override: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        resume_run(whole, [override])


def test_a_longer_training_is_the_one_that_would_have_been_longer_from_the_start(tmp_path: Path) -> None:
    constant = "schedule.name=constant"
    short = train_recipe(noisy.recipe(constant), tmp_path / "short").run
    longer = resume_run(short, ["trainer.max_epochs=6"]).run
    from_start = train_recipe(noisy.recipe(constant, "trainer.max_epochs=6"), tmp_path / "long").run
    same(final(longer), final(from_start))
    assert longer.manifest()["recipe_sha256"] == from_start.manifest()["recipe_sha256"]
    assert (longer.model / "model.safetensors").read_bytes() == (from_start.model / "model.safetensors").read_bytes()


def test_other_data_is_refused(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        crash_at(patched, 8, CrashError())
        with pytest.raises(CrashError):
            train_recipe(noisy.recipe(), tmp_path)
    run = find_run("hello-linear", tmp_path)
    run.update(data_sha256={**run.manifest()["data_sha256"], "dev": "another"})
    with pytest.raises(DataError, match="the data of dev changed"):
        resume_run(run)


def test_a_run_in_use_is_left_alone(whole: Run) -> None:
    with whole.in_use(), pytest.raises(RunError, match="another process"):
        resume_run(whole)


def test_what_the_progress_counts_is_all_in_its_counters() -> None:
    plain = {name for name, value in vars(Progress("x", 1, 1, [])).items() if isinstance(value, (int, float, dict))}
    assert plain - set(Progress("x", 1, 1, []).counters()) == {"steps", "every", "mark"}


def test_a_resumed_run_takes_as_many_threads_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with monkeypatch.context() as patched:
            crash_at(patched, 8, CrashError())
            with pytest.raises(CrashError):
                train_recipe(noisy.recipe(), tmp_path)
        torch.set_num_threads(2)
        resume_run(find_run("hello-linear", tmp_path))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
