"""The folder of a run: what is in it, making one, finding one.

runs/<recipe>/<UTC time>-<id>/
    run.json        the manifest            recipe.yaml     the resolved recipe
    metrics.jsonl   one line a record       report.md       scores, tables, curves
    checkpoints/    to resume from          model/          the trained model
    events.out.*    for TensorBoard
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from app import fileio
from app.config import load, to_yaml
from app.errors import Problem, RunError, did_you_mean
from app.schema import Recipe

RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    path: Path

    @property
    def manifest_file(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    def recipe(self, overrides: list[str] | None = None) -> Recipe:
        """Return the recipe it was trained by, changed by overrides."""
        return load(str(self.path / "recipe.yaml"), overrides or [])

    def manifest(self) -> dict[str, Any]:
        """Return what run.json holds. Raises RunError if it cannot be read."""
        try:
            manifest: dict[str, Any] = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(Problem("run.json cannot be read", "train again", str(self.path))) from error
        return manifest

    def update(self, **values: Any) -> None:
        """Add values to the manifest."""
        fileio.write_json(self.manifest_file, {**self.manifest(), **values})

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Lock the folder for the block, so that no other process trains into it. Raises RunError if one does."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                what = "another process is training into this run"
                raise RunError(Problem(what, "wait for it, or stop it", str(self.path))) from error
            except OSError:  # a network file system without locks
                pass
            yield
        finally:
            os.close(handle)


def create_run(recipe: Recipe, manifest: dict[str, Any], root: Path = RUNS) -> Run:
    """Make a new folder for a run. It appears with its recipe and manifest in it."""
    started = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    run = Run(root / recipe.name / f"{started}-{secrets.token_hex(3)}")
    with fileio.new_folder(run.path) as building:
        fileio.write_text(building / "recipe.yaml", to_yaml(recipe))
        fileio.write_json(building / "run.json", manifest)
    return run


def list_runs(root: Path = RUNS, recipe: str | None = None) -> list[Run]:
    """Return all runs, or those of one recipe, oldest first."""
    return [Run(path.parent) for path in sorted(root.glob(f"{recipe or '*'}/*/run.json"), key=lambda p: p.parent.name)]


def find_run(name: str, root: Path = RUNS) -> Run:
    """Return the run in a folder, or the newest run of a recipe.

    `name`: a path, also below `root`, or a recipe's name. Raises RunError if there is no such run.
    """
    for path in (Path(name), root / name):
        if (path / "run.json").is_file():
            return Run(path)
    if of_recipe := list_runs(root, name):
        return of_recipe[-1]
    known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    guess = did_you_mean(name, known)
    fix = f"did you mean {guess}?" if guess else f"`app train {name}` makes one, or give the path of a run's folder"
    raise RunError(Problem(f"no run is at {name} or in {root / name}", fix))
