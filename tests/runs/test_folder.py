"""Runs are listed and found by their folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from app.runs.folder import Run, find_run, list_runs


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
