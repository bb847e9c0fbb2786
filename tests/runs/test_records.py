"""metrics.jsonl keeps whole records, up to the checkpoint that a run resumes from."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    records.truncate(path, size)
    records.truncate(path, size + 100)
    assert records.read_records(path) == [{"step": 1, "a": 1.0}]
    records.truncate(tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_records_on_a_full_disk_are_an_error_with_a_fix() -> None:
    with pytest.raises(RunError, match=r"full could not be written: No space left on device[\s\S]*make room"):
        records.JsonLines(Path("/dev/full")).record({"a": 1.0}, 1)
