"""Runs are listed and found by their folders."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from app import cli
from app.config import load
from app.runs.folder import Run, create_run, find_run, list_runs


def a_run(root: Path, recipe: str, name: str, **manifest: object) -> Run:
    run = Run(root / recipe / name)
    run.path.mkdir(parents=True)
    run.manifest_file.write_text(json.dumps({"started": "2023-05-08T10:00:00+00:00", **manifest}))
    return run


def test_runs_are_listed_oldest_first_with_their_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"dev": {"loss": 2.0}, "test": {"loss": 1.0}}
    second = a_run(tmp_path, "b", "20230509T000000Z-aaaaaa", finished=True, scores=scores)
    first = a_run(tmp_path, "c", "20230508T000000Z-bbbbbb")
    assert [run.path for run in list_runs(tmp_path)] == [first.path, second.path]
    assert find_run("b", tmp_path).path == second.path
    assert cli.main(["runs", "--runs", str(tmp_path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["run"], row["status"], row["scores"]) for row in rows] == [
        (str(first.path), "stopped", {}),
        (str(second.path), "finished", {"loss": 1.0}),
    ]
    assert cli.main(["runs", "b", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{second.path}  finished  loss 1.0000\n"


def test_a_new_run_is_the_newest_also_after_a_clock_that_was_ahead(tmp_path: Path) -> None:
    recipe = load("hello-linear", [])
    for name in ("20990101T000000Z-ffffff", "20990231T000000Z-x", "99991231T235959Z-x"):
        a_run(tmp_path, recipe.name, name)
    (tmp_path / recipe.name / "20990231T000000Z-x" / "run.json").unlink()
    made = [create_run(recipe, {}, tmp_path) for _ in range(5)]  # within one second
    assert find_run(recipe.name, tmp_path).path == made[-1].path
    assert [run.path for run in list_runs(tmp_path)][-5:] == [run.path for run in made]


def test_a_renamed_run_keeps_its_place(tmp_path: Path) -> None:
    newest = a_run(tmp_path, "b", "20230601T000000Z-aaaaaa")
    renamed = a_run(tmp_path, "b", "the-good-one", started="2023-05-08T10:00:00+02:00")
    nameless = a_run(tmp_path, "b", "zzz", started=7)
    assert [run.path for run in list_runs(tmp_path)] == [nameless.path, renamed.path, newest.path]


def test_a_run_that_may_not_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may read everything, so the refusal is simulated."""
    mine = a_run(tmp_path, "b", "20230508T000000Z-aaaaaa")
    theirs = a_run(tmp_path, "b", "20230509T000000Z-bbbbbb")
    stat = Path.stat

    def refused(path: Path, **options: bool) -> os.stat_result:
        if theirs.path in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refused)
    assert cli.main(["runs", "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert str(mine.path) in shown.out and "unreadable" in shown.out and "Permission denied" in shown.err
