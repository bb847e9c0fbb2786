"""A training next to a busy program: which turns are measured, and what the page says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.benchmark import noise
from app.benchmark.noise import NoiseSample
from app.benchmark.timer import Timing
from benchmarks import shared_machine

TIMING = Timing(1.0, 1.0, 1.0, 9)


@pytest.mark.parametrize(("busy", "verdict"), [(160.0, "wanted: reached"), (30.0, "NOT REACHED")])
def test_the_share_of_the_quiet_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float, verdict: str
) -> None:
    trained = iter([(240.0, 2), (busy, 1), (20.0, 2)])
    monkeypatch.setattr(noise, "sample", lambda *_: NoiseSample(TIMING, TIMING, 0.0, 0.0))
    monkeypatch.setattr(shared_machine, "train", lambda *_: next(trained))
    shared_machine.main(["--rounds", "1", "--out", str(tmp_path)])
    (kept,) = tmp_path.glob("*-shared_machine.json")
    result = json.loads(kept.read_text())["sentiment"]
    assert result["busy_over_quiet"]["value"] == busy / 240
    assert result["every_core_over_quiet"]["value"] == 20 / 240
    assert verdict in kept.with_suffix(".md").read_text()


@pytest.mark.slow
def test_a_training_is_measured_with_the_threads_it_took() -> None:
    speed, threads = shared_machine.train("hello-linear", 1)
    assert speed > 0 and threads == 1
