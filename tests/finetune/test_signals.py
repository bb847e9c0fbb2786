"""Real processes, real signals, a real full disk: what a stopped training leaves behind can be gone on with."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from app import cli
from app.errors import RunError
from app.finetune.tasks import TASKS
from app.finetune.train import resume_run, train_recipe
from app.runs import checkpoints, records
from app.runs.folder import Run, find_run
from tests.finetune import noisy

GRACE = 10.0  # seconds between SIGTERM and SIGKILL that engines and clouds allow at least
START = 60.0  # seconds that a process may take to come up on a busy machine
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.finetune.noisy"])


@pytest.fixture(autouse=True)
def _noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "linear-regression", lambda: noisy.Noisy)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As the trainings in other processes: the same bits need the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing disturbed."""
    torch.set_num_threads(1)  # as the processes below: the bits of a sum depend on it
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(TASKS, "linear-regression", lambda: noisy.Noisy)
        return train_recipe(noisy.recipe(), tmp_path_factory.mktemp("whole")).run


def test_the_verb_exits_as_the_signal_says(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, seen = noisy.Noisy.loss, [0]

    def terminated(self: Any, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 9:  # in the middle of step 4
            signal.raise_signal(signal.SIGTERM)
        return loss(self, *arguments)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(noisy.Noisy, "loss", terminated)
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", "hello-linear", *noisy.SETTINGS, "--runs", str(tmp_path)])
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    run = find_run("hello-linear", tmp_path)
    assert checkpoints.step_of(checkpoints.steps(run.checkpoints)[-1]) == 3
    assert_same(resume_run(run).run, whole)


class Training:
    """`app train` of the noisy task in another process."""

    def __init__(self, folder: Path, *settings: str, slow_save: float = 0.0, **environment: str) -> None:
        self.folder, self.log = folder, folder / "log"
        arguments = ["hello-linear", *noisy.SETTINGS, *settings, "--runs", str(folder / "runs")]
        if (folder / "runs").is_dir():
            arguments = ["--resume", "hello-linear", "--runs", str(folder / "runs")]
        self.process = CONTEXT.Process(target=noisy.train, args=(arguments, self.log, environment, slow_save))
        self.process.start()

    @property
    def run(self) -> Run:
        return find_run("hello-linear", self.folder / "runs")

    def wait_for(self, what: Callable[[], Any]) -> None:
        """Until something is so."""
        end = time.monotonic() + START
        while not what():
            assert self.process.is_alive() and time.monotonic() < end, self.log.read_text()
            time.sleep(0.005)

    def steps_recorded(self) -> int:
        if not (self.folder / "runs").is_dir():
            return 0
        return max(
            (int(r["step"]) for path in self.folder.rglob("metrics.jsonl") for r in records.read_records(path)),
            default=0,
        )

    def signal(self, signum: int) -> int:
        """Send a signal; exit code of the process, which must end in time."""
        assert self.process.pid
        os.kill(self.process.pid, signum)
        return self.end()

    def end(self) -> int:
        self.process.join(GRACE)
        assert self.process.exitcode is not None, f"still runs after {GRACE} s: {self.log.read_text()}"
        return self.process.exitcode


def assert_same(run: Run, whole: Run) -> None:
    """The same weights and records."""
    ours, theirs = (checkpoints.load(checkpoints.steps(r.checkpoints)[-1])["weights"] for r in (run, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    ours, theirs = (
        [{k: v for k, v in r.items() if not k.endswith("/s")} for r in records.read_records(x.metrics)]
        for x in (run, whole)
    )
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_a_long_step_leaves_a_checkpoint(whole: Run, signum: int, code: int, tmp_path: Path) -> None:
    training = Training(tmp_path, "trainer.checkpoint_every=100", "trainer.log_every=1", SLEEP_STEP="0.2")
    training.wait_for(lambda: training.steps_recorded() >= 2)
    assert training.signal(signum) == code
    assert "app train --resume" in training.log.read_text()
    resumed = resume_run(training.run, ["trainer.log_every=2"]).run
    ours, theirs = (checkpoints.load(checkpoints.steps(r.checkpoints)[-1])["weights"] for r in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_sigterm_in_an_evaluation_leaves_a_checkpoint(whole: Run, tmp_path: Path) -> None:
    training = Training(tmp_path, SLEEP_EVALUATION="30")
    training.wait_for(lambda: training.steps_recorded() >= 2)
    time.sleep(0.3)
    assert training.signal(signal.SIGTERM) == 143
    assert_same(resume_run(training.run).run, whole)


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once_and_the_old_checkpoint_is_whole(whole: Run, tmp_path: Path) -> None:
    training = Training(tmp_path, "trainer.checkpoint_every=1", slow_save=0.5)
    training.wait_for(lambda: training.log.read_text().count("saving") >= 3 if training.log.is_file() else False)
    assert training.process.pid
    os.kill(training.process.pid, signal.SIGINT)
    time.sleep(0.1)
    asked = time.monotonic()
    assert training.signal(signal.SIGINT) == 130
    assert time.monotonic() - asked < 0.4, "it waited for the checkpoint"
    assert_same(resume_run(training.run).run, whole)


@pytest.mark.slow
def test_kills_at_random_moments_lose_at_most_one_interval(whole: Run, tmp_path: Path) -> None:
    moments = random.Random(7)
    for _ in range(6):
        training = Training(
            tmp_path, "trainer.checkpoint_every=1", "trainer.log_every=1", slow_save=0.02, SLEEP_STEP="0.01"
        )
        before = training.steps_recorded()
        training.wait_for(lambda: training.steps_recorded() > before)  # noqa: B023
        time.sleep(moments.uniform(0, 0.15))
        if training.process.exitcode is not None:
            break
        assert training.signal(signal.SIGKILL) == -signal.SIGKILL
        newest, damaged = checkpoints.newest(training.run.checkpoints)
        assert not damaged
        assert (checkpoints.step_of(newest) if newest else 0) >= training.steps_recorded() - 1
    run = training.run
    if not run.manifest().get("finished"):
        run = resume_run(run).run
    ours, theirs = (checkpoints.load(checkpoints.steps(r.checkpoints)[-1])["weights"] for r in (run, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (run.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()
    steps = [r["step"] for r in records.read_records(run.metrics) if "train/loss" in r]
    assert steps == list(range(1, 13)), "a record is missing or there twice"
    assert not list(run.checkpoints.glob(".*")), "what a killed process left half built is still there"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small file system takes root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this container may not mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_with_an_error_and_the_old_checkpoint(
    whole: Run, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler, loss, seen = small_disk / "filler", noisy.Noisy.loss, [0]

    def filling(self: Any, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == 10:  # in step 4, after the checkpoint of step 3
            with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(512))
        return loss(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(noisy.Noisy, "loss", filling)
        with pytest.raises(RunError, match="No space left on device") as refused:
            train_recipe(noisy.recipe(), small_disk)
    assert "make room" in str(refused.value) and "--resume" in str(refused.value)
    filler.unlink()
    run = find_run("hello-linear", small_disk)
    newest, damaged = checkpoints.newest(run.checkpoints)
    assert newest and checkpoints.step_of(newest) == 3 and not damaged
    assert_same(resume_run(run).run, whole)


def test_what_the_tensor_library_says_of_a_full_disk_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save({"weights": torch.ones(3)}, tmp_path / "run" / "checkpoints" / "step-00000001")

    def full(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RunError, match="step-00000002 could not be written: No space left on device"):
        checkpoints.save({"weights": torch.ones(3)}, tmp_path / "run" / "checkpoints" / "step-00000002")
    newest, damaged = checkpoints.newest(tmp_path / "run" / "checkpoints")
    assert newest and checkpoints.step_of(newest) == 1 and not damaged
