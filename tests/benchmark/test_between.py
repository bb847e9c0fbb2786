"""Two checkouts are compared by their own trainings: time of a step, scores and weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.benchmark import noise
from app.benchmark.noise import NoiseSample
from app.benchmark.timer import Timing
from benchmarks import between
from benchmarks.between import TURNS, Training, Workload, compare, section, step_milliseconds
from benchmarks.summary import to_json
from tests.benchmark.sample_results import bare_numbers
from tests.conftest import ROOT

TIMING = Timing(1.0, 1.0, 1.0, 9)
TRAINING = Training(10.0, 30, {"loss": 0.5}, "a" * 64, {"train": "d" * 64}, "0123456789ab+")
FOLDERS = {"old": Path("old"), "new": Path("new")}
WORK = Workload("hello-linear", (), None, "30 steps")


@pytest.mark.slow
def test_a_checkout_against_itself_trains_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(noise, "sample", lambda *_: NoiseSample(TIMING, TIMING, 0.0, 0.0))
    settings = ["--recipes", "hello-linear", "--rounds", "1", "--steps", "30", "--out", str(tmp_path)]
    between.main([str(ROOT), str(ROOT), *settings])
    (kept,) = tmp_path.glob("*-between.json")
    result = json.loads(kept.read_text())["hello-linear"]
    assert result["new_over_old"]["value"] > 0 and result["old_over_itself"]["n"] == 1
    assert result["same_weights"] and result["same_data"]
    assert result["weights_sha256"]["old"] == result["weights_sha256"]["new"]
    assert len(result["weights_sha256"]["new"]) == 1 and len(result["weights_sha256"]["new"][0]) == 64
    assert result["scores"]["old"]["loss"]["value"] == result["scores"]["new"]["loss"]["value"]
    page = kept.with_suffix(".md").read_text()
    assert "## hello-linear: 30 steps" in page and "The weights are the same, bit for bit" in page
    assert "New over old" in capsys.readouterr().out


def test_a_step_of_fixed_batches_is_timed_by_every_record_but_the_first() -> None:
    trainer = {"batch_size": 50, "accumulate": 2, "batch_tokens": None}
    records = [{"step": step, "points/s": rate} for step, rate in ((10, 100.0), (20, 1000.0), (30, 2000.0))]
    speeds = {"points/s": 500.0, "tokens/s": 500.0, "padded_tokens/s": 500.0}
    assert step_milliseconds(trainer, records, speeds, None) == [100.0, 50.0]
    assert step_milliseconds(trainer, records[:1], speeds, None) == [1000.0]


def test_a_step_of_batches_of_tokens_is_timed_by_the_whole_training() -> None:
    trainer = {"batch_size": 32, "accumulate": 1, "batch_tokens": 1024}
    speeds = {"sentences/s": 200.0, "tokens/s": 5000.0, "padded_tokens/s": 6000.0}
    assert step_milliseconds(trainer, [{"step": 10}, {"step": 25}], speeds, 1000) == [200.0]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A comparison over five rounds in which each training is known: `old` takes 10 ms, give or take 1 %."""

    def run(new: Training) -> dict[str, Any]:
        wobble = iter([0.99, 1.0, 1.01, 1.0, 0.99] * 3)

        def train(checkout: Path, work: Workload) -> Training:
            done = TRAINING if checkout == FOLDERS["old"] else new
            return replace(done, milliseconds=done.milliseconds * next(wobble))

        monkeypatch.setattr(between, "train", train)
        return compare(WORK, FOLDERS, 5)

    return run


def test_a_slower_checkout_is_told_from_noise(compared: Any) -> None:
    same, slower = compared(TRAINING), compared(replace(TRAINING, milliseconds=11.0))
    assert not same["slower"] and "no speed is lost" in section("hello-linear", same)
    assert slower["slower"] and slower["new_over_old"].value == pytest.approx(1.1, abs=0.03)
    assert "SLOWER" in section("hello-linear", slower) and "0123456789ab+" in section("hello-linear", slower)
    assert set(same["milliseconds"]) == set(TURNS) and same["milliseconds"]["new"].n == 5


def test_different_weights_and_different_data_are_reported(compared: Any) -> None:
    other = compared(replace(TRAINING, weights="b" * 64, scores={"loss": 0.4}))
    page = section("hello-linear", other)
    assert not other["same_weights"] and "THE WEIGHTS DIFFER" in page
    assert "loss 0.5" in page and "loss 0.4" in page and "bbbbbbbbbbbb" in page
    elsewhere = compared(replace(TRAINING, weights="b" * 64, data={"train": "e" * 64}))
    assert "THE DATA DIFFER" in section("hello-linear", elsewhere)


def test_every_number_of_a_comparison_is_in_a_figure_or_raw(compared: Any) -> None:
    content = to_json(compared(TRAINING))
    assert content.pop("raw")
    assert list(bare_numbers(content)) == []


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        between.main([str(tmp_path), str(ROOT)])
    assert f"{tmp_path.resolve()} is no checkout of this project" in capsys.readouterr().err
