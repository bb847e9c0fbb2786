"""A full disk or a closed door, at the first write or the last, is an error with something to type."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import cli, paths
from app.benchmark import results, suite
from app.errors import ConfigError
from tests.benchmark.sample_results import result

SMALL = ("trainer.max_epochs=2", "data.examples=64")


@dataclass
class Disk:
    """A disk that is full from the n-th wait for it on; never for 0."""

    full_at: int = 0
    waits: int = 0

    def fsync(self, handle: int) -> None:
        self.waits += 1
        if self.full_at and self.waits >= self.full_at:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(os, "fsync", found.fsync)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a verb prints on stderr, which ends with an error and something to type."""
    code = cli.main(list(arguments))
    shown = capsys.readouterr().err
    assert code == 2 and "error: " in shown and "  fix: " in shown and "Traceback" not in shown, shown
    return shown


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_write_of_a_training(
    disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ("train", "hello-linear", *SMALL, "--runs")
    assert cli.main([*train, str(tmp_path / "whole")]) == 0
    assert disk.waits > 10
    last = disk.waits
    for disk.full_at in (1, 2, last // 2, last - 1, last):
        disk.waits = 0
        assert "No space left" in refusal(capsys, *train, str(tmp_path / str(disk.full_at)))
        manifests = (tmp_path / str(disk.full_at)).rglob("run.json")
        assert not any(json.loads(path.read_text()).get("finished") for path in manifests)
    assert not (tmp_path / "1").exists(), "the place is tested before the work, without a trace"


def test_a_disk_that_fills_up_while_a_run_is_exported_or_continued(
    disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = ("--runs", str(tmp_path / "runs"))
    assert cli.main(["train", "hello-linear", *SMALL, *runs]) == 0
    disk.full_at = 1
    assert "out could not be written" in refusal(capsys, "export", "hello-linear", str(tmp_path / "out"), *runs)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    refusal(capsys, "train", "--resume", "hello-linear", "schedule.name=constant", *runs)


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(suite, "run", lambda *_: pytest.fail("the work began"))
    monkeypatch.setattr("app.finetune.train.prepare", lambda *_: pytest.fail("the work began"))
    for place in ("file", "file/inner"):
        shown = refusal(capsys, "bench", "--budget", "60s", "--out", str(tmp_path / place))
        assert "Not a directory" in shown and "--out" in shown
        shown = refusal(capsys, "train", "hello-linear", "--runs", str(tmp_path / place))
        assert "Not a directory" in shown and "--runs" in shown


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_was_measured_is_shown_also_if_it_cannot_be_kept(
    options: list[str], disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> results.BenchmarkResult:
        disk.full_at = 1
        return result()

    monkeypatch.setattr(suite, "run", run)
    assert cli.main(["bench", "--budget", "60s", "--out", str(tmp_path / "out"), *options]) == 2
    shown = capsys.readouterr()
    assert "the result could not be written: No space left" in shown.err
    if options:
        assert json.loads(shown.out)["hardware"]["device"] == result().hardware["device"]
    else:
        assert "sentiment fp32 eager" in shown.out


def test_a_full_disk_anywhere_else_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> cli.VerbModule:
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/x.npy")

    monkeypatch.setitem(cli.VERBS, "runs", cli.Verb("fails", full))
    assert "/cache/x.npy: No space left on device" in refusal(capsys, "runs")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_output_onto_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "app.cli", "runs", "--runs", "none"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "error: No space left on device\n  fix: make room" in done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of one page."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_cache_on_a_real_full_disk(
    tiny_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tiny_disk))
    sizes = ("model.layers=1", "model.width=16", "model.heads=2", "model.context=16", "trainer.max_steps=1")
    shown = refusal(capsys, "train", "gpt-char", *sizes, "--runs", str(tmp_path / "runs"))
    assert f"{tiny_disk}/" in shown and "No space left on device" in shown and "WORKSPACE_CACHE" in shown
    assert "No space left" in refusal(capsys, "train", "hello-linear", *SMALL[:1], "--runs", str(tiny_disk))


def test_without_a_home_the_cache_asks_for_a_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("WORKSPACE_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match=r"HOME is not set[\s\S]*WORKSPACE_CACHE=FOLDER"):
        paths.cache_folder()
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="it is no folder"):
        paths.cache_folder()
