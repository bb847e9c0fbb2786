"""What a run leaves behind, and finding it again.

runs/<recipe>/<UTC time>-<id>/
    run.json        the manifest            recipe.yaml     the resolved recipe
    metrics.jsonl   one line a record       report.md       scores, tables, curves
    checkpoints/    to resume from          model/          the trained model
    events.out.*    for TensorBoard
"""

from __future__ import annotations

import fcntl
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
from app.runs.boundary import check_run_folder, read_record, recorded_threads
from app.runs.disk import writing
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
        """The recipe it was trained by, changed by overrides."""
        return load(str(self.path / "recipe.yaml"), overrides or [])

    def manifest(self) -> dict[str, Any]:
        """What run.json holds. Raises RunError where it cannot be read."""
        return read_record(self.manifest_file)

    def threads(self) -> int:
        """The threads that the run was trained with. Raises RunError."""
        return recorded_threads(self.manifest(), self.manifest_file)

    def update(self, **values: Any) -> None:
        """Add to the manifest."""
        fileio.write_json(self.manifest_file, {**self.manifest(), **values})

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from training into this folder meanwhile. Raises RunError where one does."""
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


def create(recipe: Recipe, manifest: dict[str, Any], root: Path = RUNS) -> Run:
    """A new folder for a run, with its recipe and manifest in it from the first moment."""
    started = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    run = Run(root / recipe.name / f"{started}-{secrets.token_hex(3)}")
    again = "make room or give yourself access, or name another folder with --runs"
    with writing("the folder of the run", root, again), fileio.new_folder(run.path) as building:
        fileio.write_text(building / "recipe.yaml", to_yaml(recipe))
        fileio.write_json(building / "run.json", manifest)
    return run


def every(root: Path = RUNS, recipe: str | None = None) -> list[Run]:
    """All runs, or those of one recipe, oldest first."""
    recipes = [path for path in _folders(root) if recipe in (None, path.name)]
    runs = [path for folder in recipes for path in _folders(folder) if (path / "run.json").is_file()]
    return [Run(path) for path in sorted(runs, key=lambda path: path.name)]


def _folders(path: Path) -> list[Path]:
    """The folders in a folder; none if it is not there or may not be read."""
    try:
        return [inner for inner in path.iterdir() if inner.is_dir()]
    except OSError:
        return []


def find(name: str, root: Path = RUNS) -> Run:
    """A run by the path of its folder, or the newest run of a recipe by the recipe's name. Raises RunError.

    The folder is checked as if a stranger had written it: see boundary.py.
    """
    for path in (Path(name), root / name):
        try:
            found = (path / "run.json").is_file()
        except (OSError, ValueError):  # a name too long for a path, or with a NUL
            found = False
        if found:
            return _checked(Run(path))
    if of_recipe := every(root, name):
        return _checked(of_recipe[-1])
    guess = did_you_mean(name, sorted(path.name for path in _folders(root)))
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    fix = f"did you mean {guess}?" if guess else f"`app train {shown}` makes one, or give the path of a run's folder"
    raise RunError(Problem(f"no run is at {shown} or in {root}/{shown}", fix))


def _checked(run: Run) -> Run:
    check_run_folder(run.path)
    return run
