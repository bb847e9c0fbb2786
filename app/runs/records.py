"""metrics.jsonl: the records of a run, one JSON object a line, appended as training goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from app import fileio
from app.runs.disk import writing


class Recorder(Logger):
    """One of Lightning's loggers, of numbers alone."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title

    @property
    def name(self) -> str:
        return self.title

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """The recipe is in recipe.yaml."""


class JsonLines(Recorder):
    """Writes each record as `{"step": ..., name: number, ...}`."""

    def __init__(self, path: Path) -> None:
        super().__init__("metrics")
        self.path = path

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one record. A number that JSON cannot hold becomes null."""
        with writing(self.path.name, self.path.parent), self.path.open("a", encoding="utf-8") as file:
            file.write(fileio.as_json({"step": step, **metrics}) + "\n")


def read_records(path: Path) -> list[dict[str, Any]]:
    """Every whole record; a last line that a crash cut short is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def cut(path: Path, size: int) -> None:
    """Keep the first `size` bytes: what was written after a checkpoint is written again by the run that resumes it."""
    if path.is_file() and path.stat().st_size > size:
        fileio.write_bytes(path, path.read_bytes()[:size])
