"""metrics.jsonl: the records of a run, one JSON object a line, appended while it trains."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from app import fileio
from app.errors import Problem
from app.runs.disk import disk_errors


class Recorder:
    """Receives the numbers of a training as they are measured. The base class drops them."""

    def record(self, values: dict[str, float], step: int) -> None:
        """Record the numbers of an optimizer step."""

    def flush(self) -> None:
        """Wait until everything recorded is on the disk."""

    def size(self) -> int:
        """Return the size of metrics.jsonl in bytes; 0 if this recorder does not write it."""
        return 0

    def close(self) -> None:
        """Finish. Nothing may be recorded afterwards."""


class JsonLines(Recorder):
    """Appends each record as `{"step": ..., name: number, ...}` to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def record(self, values: dict[str, float], step: int) -> None:
        """Append one record. A number that JSON cannot hold becomes null. Raises RunError if the disk is full."""
        with disk_errors(self.path.name, self.path.parent), self.path.open("a", encoding="utf-8") as file:
            file.write(fileio.as_json({"step": step, **values}) + "\n")

    def flush(self) -> None:
        if self.path.is_file():
            with disk_errors(self.path.name, self.path.parent):
                fileio.to_disk(self.path)
                fileio.to_disk(self.path.parent)  # which holds its name

    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return every whole record; a last line that a crash cut short is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def rewind(path: Path, size: int) -> list[Problem]:
    """Keep the first `size` bytes, those before a checkpoint: a run that resumes writes the later records again.

    Removes a last line that is cut short, so that the next record is not glued to it. Returns what was lost.
    """
    lost = []
    kept = path.read_bytes()[:size] if path.is_file() else b""
    fix = "nothing to do: the training continues, and its weights are whole"
    if len(kept) < size:
        what = f"{size - len(kept)} bytes of records before the checkpoint are missing"
        lost.append(Problem(what, fix, str(path)))
    whole = kept[: kept.rfind(b"\n") + 1]
    if whole != kept:
        lost.append(Problem("the last record was cut short and is removed", fix, str(path)))
    if path.is_file() and path.stat().st_size > len(whole):
        os.truncate(path, len(whole))
        fileio.to_disk(path)
    return lost
