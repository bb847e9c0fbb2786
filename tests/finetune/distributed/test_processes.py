"""Two processes are one training: the same curve as one process, one run folder, and an end for all with a message."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import config
from app.data.batching import BatchSampler, BatchSpec, ShardedDataset
from app.data.generated import linear_law, points_on
from app.errors import ConfigError
from app.finetune.distributed import processes
from app.finetune.distributed.launch import loopback_only
from app.finetune.distributed.processes import Rank
from app.runs import checkpoints
from app.runs.folder import Run, find_run
from app.runs.records import read_records

# 49 examples in batches of 8: the last holds one, so a second process has none of it. Steps of 3 and 3 and 1 batches.
CURVE = (
    "data.examples=49",
    "trainer.batch_size=8",
    "trainer.accumulate=3",
    "trainer.max_epochs=5",
    "trainer.eval_every=2",
    "trainer.log_every=1",
)


def app(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """`app ...` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def train(folder: Path, *settings: str) -> Run:
    """A finished `app train hello-linear`."""
    process = app("train", "hello-linear", *CURVE, *settings, "--runs", str(folder))
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    return find_run("hello-linear", folder)


def test_processes_share_each_batch_to_the_last_example() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 49)
    for cut in (BatchSpec(8, None, True, 3), BatchSpec(8, 64, True, 3)):
        shares = [list(BatchSampler(lengths, cut, rank, 3)) for rank in range(3)]
        whole = list(BatchSampler(lengths, cut))
        assert len({len(share) for share in shares}) == 1, "a process with fewer batches would leave the others waiting"
        for batch, *parts in zip(whole, *shares):
            assert sorted(batch) == sorted(np.concatenate(parts))


def test_a_share_of_no_examples_is_a_batch() -> None:
    data = ShardedDataset(points_on(linear_law(3, 1), 10, 0.1, 2))
    batch = data[np.array([], dtype=np.int64)]
    assert len(batch) == 0 and batch.inputs["features"].shape == (0, 3) and batch.useful == batch.padded == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["trainer.devices=3"], "trainer.devices: 3, but 2 processes were started"),
        (["trainer.nodes=4"], "trainer.nodes: 4, but torchrun was started on 1"),
    ],
)
def test_another_number_of_processes_than_the_recipe_says_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        processes.check_number(config.load("hello-linear", settings), Rank(0, 2, 0, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["trainer.nodes=2"], "cannot be started from here"),
        (["trainer.strategy=fsdp"], "fsdp shards a model over GPUs"),
    ],
)
def test_what_cannot_be_started_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        processes.processes_to_start(config.load("hello-linear", settings))


def test_torchrun_has_started_the_processes_already(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = config.load("hello-linear", ["trainer.devices=2"])
    assert processes.processes_to_start(recipe) == 2
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert processes.this_rank() == Rank(1, 2, 1, 2) and processes.processes_to_start(recipe) == 1


@pytest.mark.slow
def test_a_classifier_is_scored_over_what_all_processes_judged_while_layers_still_sleep(
    small: list[str], tmp_path: Path
) -> None:
    """Sleeping layers get no gradient, which plain DDP takes for an error."""
    settings = [*small, "trainer.max_epochs=2", "trainer.accelerator=cpu", "model.freeze.gradual=2", "model.dropout=0"]
    found = []
    for count in (1, 2):
        process = app("train", "sentiment", *settings, f"trainer.devices={count}", "--runs", str(tmp_path / str(count)))
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
        found.append(find_run("sentiment", tmp_path / str(count)).manifest()["scores"])
    assert found[0].keys() == found[1].keys() == {"dev", "test"}
    for split in ("dev", "test"):
        assert found[1][split]["loss"] == pytest.approx(found[0][split]["loss"], rel=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One process at the global batch."""
    return train(tmp_path_factory.mktemp("alone"))


def curve(run: Run) -> list[dict[str, Any]]:
    """The records without speeds."""
    return [{k: v for k, v in r.items() if not k.endswith("/s")} for r in read_records(run.metrics)]


def assert_same_curve(run: Run, other: Run) -> None:
    """Losses, rates and scores are those of the other, but for the order of a sum."""
    ours, theirs = curve(run), curve(other)
    assert [record.keys() for record in ours] == [record.keys() for record in theirs]
    for mine, its in zip(ours, theirs):
        for name, value in its.items():
            assert mine[name] == pytest.approx(value, rel=1e-6), (its["step"], name)
    scores, expected = (json.loads(r.manifest_file.read_text())["scores"] for r in (run, other))
    assert scores["test"]["loss"] == pytest.approx(expected["test"]["loss"], rel=1e-6)


@pytest.mark.slow
def test_two_processes_walk_the_curve_of_one(alone: Run, tmp_path: Path) -> None:
    together = train(tmp_path, "trainer.devices=2")
    assert len(list((tmp_path / "hello-linear").iterdir())) == 1, "only the first process makes a folder"
    assert_same_curve(together, alone)


@pytest.mark.slow
def test_torchrun_does_the_same(alone: Run, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "app.cli"]
    command = [*torchrun, "train", "hello-linear", *CURVE, "--runs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert_same_curve(find_run("hello-linear", tmp_path), alone)


@pytest.mark.slow
def test_a_signal_stops_all_and_they_resume_together(alone: Run, tmp_path: Path) -> None:
    settings = (*CURVE, "trainer.devices=2", "trainer.max_epochs=60", "trainer.checkpoint_every=1000")
    process = app("train", "hello-linear", *settings, "--runs", str(tmp_path))
    wait_for_steps(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143 and time.monotonic() - asked < 10, said
    run = find_run("hello-linear", tmp_path)
    step = checkpoints.step_of(checkpoints.steps(run.checkpoints)[-1])
    assert step > 0 and said.count("app train --resume") == 1
    again = app("train", "--resume", str(run.path))
    said, _ = again.communicate(timeout=240)
    assert again.returncode == 0, said
    records = [r["step"] for r in read_records(run.metrics) if "train/loss" in r]
    assert records == list(range(1, 181))
    first = [r for r in curve(run) if r["step"] <= 15 and "train/loss" in r]
    assert [r["train/loss"] for r in first] == pytest.approx(
        [r["train/loss"] for r in curve(alone) if "train/loss" in r], rel=1e-6
    )


@pytest.mark.slow
def test_a_process_that_dies_ends_all_and_is_named(tmp_path: Path) -> None:
    process = app(
        "train", "hello-linear", *CURVE, "trainer.devices=2", "trainer.max_epochs=2000", "--runs", str(tmp_path)
    )
    wait_for_steps(process, tmp_path)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2 and "process 1 of 2 was killed by SIGKILL; the others were ended" in said
    assert "Traceback" not in said, said
    assert not any(Path(f"/proc/{child}").exists() for child in children)


@pytest.mark.slow
def test_a_port_that_is_taken_ends_with_a_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        process = app("train", "hello-linear", *CURVE, "--runs", str(tmp_path), **place, **meeting)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "process 0 of 2 could not meet the others" in said, said
    assert "Traceback" not in said and not list(tmp_path.iterdir())


def addresses(pids: Sequence[int]) -> set[str]:
    """The local addresses, as the kernel writes them, at which these processes listen or are connected over TCP."""
    inodes = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended, or closed the file, meanwhile
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                if found := re.fullmatch(r"socket:\[(\d+)\]", str(handle.readlink())):
                    inodes.add(found[1])
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] in ("0A", "01") and row[9] in inodes}


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(member for child in children for member in family(int(child)))]


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}  # 127.0.0.1 and ::1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the sockets of a process are read from Linux's /proc")
def test_processes_of_one_machine_use_the_loopback_only(tmp_path: Path) -> None:
    meetings = tmp_path / "meetings"
    meetings.mkdir()
    endless = (*CURVE, "trainer.devices=2", "trainer.max_epochs=2000")
    process = app("train", "hello-linear", *endless, "--runs", str(tmp_path / "runs"), TMPDIR=str(meetings))
    seen: set[str] = set()
    end = time.monotonic() + 120
    while sum(len(read_records(path)) for path in (tmp_path / "runs").rglob("metrics.jsonl")) < 4:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        seen |= addresses(family(process.pid))  # gloo listens only while the processes meet
        time.sleep(0.02)
    members = family(process.pid)
    now = addresses(members)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in meetings.glob("app-train-*")}
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert len(members) >= 3 and now, "the processes are connected"
    assert seen | now <= LOOPBACK
    assert modes == {0o700} and not list(meetings.glob("app-train-*")), "a private folder, gone at the end"


def test_a_users_choice_of_interface_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    assert set(loopback_only()) == {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}
    assert set(loopback_only().values()) <= {"lo", "lo0"}
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0")
    assert set(loopback_only()) == {"NCCL_SOCKET_IFNAME"}


def wait_for_steps(process: subprocess.Popen[str], folder: Path) -> None:
    """Until a few steps are recorded."""
    end = time.monotonic() + 120
    while sum(len(read_records(path)) for path in folder.rglob("metrics.jsonl")) < 4:
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.05)
