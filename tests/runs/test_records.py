"""What a run leaves for people and programs: records, curves, a list, the identity of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import save_file

from app import cli
from app.errors import RunError
from app.runs import records, report
from app.runs.folder import Run, find_run, list_runs
from app.runs.weights import weights_digest


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = records.JsonLines(path)
    log.record({"a": 1.0, "b": float("nan")}, 1)
    log.record({"a": 2.0}, 2)
    path.write_bytes(path.read_bytes()[:-4])
    assert records.read_records(path) == [{"step": 1, "a": 1.0, "b": None}]


def test_records_after_a_checkpoint_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = records.JsonLines(path)
    log.record({"a": 1.0}, 1)
    size = path.stat().st_size
    log.record({"a": 2.0}, 2)
    records.truncate(path, size)
    records.truncate(path, size + 100)
    assert records.read_records(path) == [{"step": 1, "a": 1.0}]
    records.truncate(tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_records_on_a_full_disk_are_an_error_with_a_fix() -> None:
    with pytest.raises(RunError, match=r"full could not be written: No space left on device[\s\S]*make room"):
        records.JsonLines(Path("/dev/full")).record({"a": 1.0}, 1)


def some_records() -> list[dict[str, float | None]]:
    training: list[dict[str, float | None]] = [{"step": s, "train/loss": 1 / s, "lr": 0.1} for s in range(1, 50)]
    return [
        *training,
        {"step": 25, "dev/loss": 0.2, "dev/accuracy": 0.8},
        {"step": 49, "dev/loss": None, "dev/accuracy": 0.9},
    ]


def test_curves_are_a_picture_and_the_same_for_the_same_records(tmp_path: Path) -> None:
    assert report.draw_curves(some_records(), tmp_path / "a.svg") and report.draw_curves(
        some_records(), tmp_path / "b.svg"
    )
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    picture = ElementTree.parse(tmp_path / "a.svg")
    axes = [e for e in picture.iter() if e.get("id", "").startswith("axes_")]
    assert len(axes) == 3, "losses, scores, learning rate"


def test_without_curves_there_is_no_picture(tmp_path: Path) -> None:
    assert not report.draw_curves([{"step": 1, "tokens/s": 3.0}], tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


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


def test_weights_are_the_same_in_one_file_or_two(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.tensor(1.5), "c": torch.ones(2, dtype=torch.bfloat16)}
    for folder, files in (("one", [tensors]), ("two", [{"b": tensors["b"]}, {"a": tensors["a"], "c": tensors["c"]}])):
        (tmp_path / folder).mkdir()
        for i, part in enumerate(files):
            save_file(part, str(tmp_path / folder / f"{i}.safetensors"), metadata={"format": folder})
    assert weights_digest(tmp_path / "one") == weights_digest(tmp_path / "two")
    (tmp_path / "three").mkdir()
    save_file({**tensors, "a": tensors["a"].reshape(2, 3)}, str(tmp_path / "three" / "0.safetensors"))
    assert weights_digest(tmp_path / "three") != weights_digest(tmp_path / "one")
