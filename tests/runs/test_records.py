"""metrics.jsonl keeps whole records, up to the checkpoint that a run resumes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import fileio
from app.errors import RunError
from app.runs import records


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = records.JsonLines(path)
    log.record({"a": 1.0, "b": float("nan")}, 1)
    log.record({"a": 2.0}, 2)
    path.write_bytes(path.read_bytes()[:-4])
    assert records.read_records(path) == [{"step": 1, "a": 1.0, "b": None}]


def test_records_are_cut_where_a_checkpoint_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = records.JsonLines(path)
    log.record({"a": 1.0}, 1)
    size = path.stat().st_size
    log.record({"a": 2.0}, 2)
    assert records.rewind(path, size) == []
    assert records.read_records(path) == [{"step": 1, "a": 1.0}]
    assert records.rewind(tmp_path / "none", 0) == []
    assert not (tmp_path / "none").exists()


def test_a_torn_record_is_removed_before_the_next_one_and_said(tmp_path: Path) -> None:
    """A power cut between a record and its checkpoint, on a disk that lost the file's end."""
    path = tmp_path / "metrics.jsonl"
    log = records.JsonLines(path)
    for step in (1, 2):
        log.record({"a": 1.0}, step)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-6])
    lost = records.rewind(path, size)
    assert [problem.what.split(" ", 1)[-1] for problem in lost] == [
        "bytes of records before the checkpoint are missing",
        "last record was cut short and is removed",
    ]
    log.record({"a": 3.0}, 3)
    assert [record["step"] for record in records.read_records(path)] == [1, 3]
    assert len(path.read_text().splitlines()) == 2


def test_records_and_the_name_of_their_file_are_on_the_disk_after_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(fileio, "to_disk", synced.append)
    log = records.JsonLines(tmp_path / "metrics.jsonl")
    log.record({"a": 1.0}, 1)
    log.flush()
    assert synced == [tmp_path / "metrics.jsonl", tmp_path]


def test_records_on_a_full_disk_are_an_error_with_a_fix() -> None:
    with pytest.raises(RunError, match=r"full could not be written: No space left on device[\s\S]*make room"):
        records.JsonLines(Path("/dev/full")).record({"a": 1.0}, 1)
