"""`app reproduce` says "the same to the last bit", or what is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from app import cli
from app.config import load
from app.errors import RunError
from app.finetune.reproduce import Difference, differences, first_difference, repeat, verdict
from app.finetune.tasks import TASKS
from app.finetune.train import train_recipe
from app.runs.folder import Run
from app.runs.records import read_records
from tests.finetune import noisy
from tests.finetune.small_bert import few_reviews, small_bert


@pytest.fixture(autouse=True)
def _noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "linear-regression", lambda: noisy.Noisy)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run."""
    return train_recipe(noisy.recipe(), tmp_path).run


def test_a_run_repeats_to_the_last_bit(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", str(run.path), "--runs", str(run.path.parent.parent)]) == 0
    (again,) = set(run.path.parent.iterdir()) - {run.path}
    said = capsys.readouterr().out
    assert f"{again} repeats {run.path} to the last bit" in said and run.manifest()["weights_sha256"] in said
    assert json.loads((again / "run.json").read_text())["reproduces"] == str(run.path)


def test_what_came_out_otherwise_is_listed_with_what_may_be_the_reason(run: Run) -> None:
    again = repeat(run, run.path.parent.parent)
    lines = run.metrics.read_text().splitlines()
    changed = json.loads(lines[1]) | {"train/loss": 9.5}
    run.metrics.write_text("\n".join([lines[0], json.dumps(changed), *lines[2:]]) + "\n")
    versions = {**run.manifest()["versions"], "torch": "1.13.1"}
    run.update(weights_sha256="0" * 64, versions=versions)
    with pytest.raises(RunError) as refused:
        verdict(run, again)
    said = str(refused.value)
    assert f"weights_sha256 was {'0' * 64} and is {again.manifest()['weights_sha256']}" in said
    assert f"at step {changed['step']} was" in said and "versions.torch was 1.13.1 and is" in said


def test_other_base_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    bert = small_bert(tmp_path / "bert")
    files = few_reviews(tmp_path / "data")
    recipe = load("sentiment", [f"model.name={bert}", *files, "trainer.max_steps=1", "trainer.precision=fp32"])
    run = train_recipe(recipe, tmp_path / "runs").run
    weights = bert / "model.safetensors"
    assert run.manifest()["base_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert "to the last bit" in verdict(run, repeat(run, tmp_path / "runs"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RunError, match="base_sha256 was"):
        verdict(run, repeat(run, tmp_path / "runs"))


def test_a_record_of_before_has_no_base_to_compare(run: Run) -> None:
    again = repeat(run, run.path.parent.parent)
    again.update(base_sha256="0" * 64)
    written = {name: value for name, value in run.manifest().items() if name != "base_sha256"}
    run.manifest_file.write_text(json.dumps(written))
    assert "to the last bit" in verdict(run, again)


def test_other_circumstances_with_the_same_result_are_a_note(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    again = repeat(run, run.path.parent.parent)
    run.update(code={"revision": "abc", "changed": False})
    assert "to the last bit" in verdict(run, again)
    assert "note: code.revision was abc" in capsys.readouterr().err


def test_a_recipe_that_was_edited_is_not_the_run(run: Run) -> None:
    recipe = run.path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("lr: 0.01", "lr: 0.02"))
    with pytest.raises(RunError, match="not the recipe that the run was trained by"):
        repeat(run, run.path.parent.parent)


def test_an_unfinished_run_is_refused(run: Run) -> None:
    run.update(finished=False)
    with pytest.raises(RunError, match="not finished"):
        repeat(run, run.path.parent.parent)


def test_the_first_record_that_differs_is_named_and_speeds_are_not_compared() -> None:
    before = [{"step": 1, "a": 1.0, "tokens/s": 5.0}, {"step": 2, "a": 2.0, "b": 1.0}, {"step": 3, "a": 3.0}]
    now = [{"step": 1, "a": 1.0, "tokens/s": 7.0}, {"step": 2, "a": 2.5, "b": 1.0}, {"step": 3, "a": 9.0}]
    assert list(first_difference(before, now)) == [Difference("a at step 2", 2.0, 2.5)]
    assert list(first_difference(before[:2], before)) == [Difference("the number of records", 2, 3)]


def test_differences_are_single_values() -> None:
    before = {"versions": {"torch": "2.0.1", "numpy": "1"}, "scores": {"dev": {"loss": 1.0}}}
    now = {"versions": {"torch": "2.1.0", "numpy": "1", "peft": "0"}, "scores": {"dev": {"loss": 1.0}}}
    found = differences(before, now, ("versions", "scores"))
    assert found == [Difference("versions.torch", "2.0.1", "2.1.0"), Difference("versions.peft", None, "0")]


def test_records_of_a_real_run_are_compared(run: Run) -> None:
    records = read_records(run.metrics)
    assert len(records) == 10 and not list(first_difference(records, records))
