"""The folder of a run: its files, and how to create, list and find runs.

runs/<recipe>/<UTC time>-<id>/
    run.json        the manifest            recipe.yaml     the resolved recipe
    metrics.jsonl   one line a record       report.md       scores and tables, with curves.svg
    checkpoints/    to resume from          model/          the trained model
    events.out.*    for TensorBoard
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from app import fileio
from app.config import load, to_yaml
from app.errors import Problem, RunError, did_you_mean
from app.runs.boundary import check_run_folder, read_record, recorded_threads
from app.runs.disk import disk_errors
from app.schema import Recipe

RUNS = Path("runs")
OTHER_FOLDER = "make room or give yourself access, or name another folder with --runs"
STAMP = "%Y%m%dT%H%M%SZ"
NAME = re.compile(r"([1-8]\d{3}(0[1-9]|1[0-2])\d\dT\d{6}Z)-.+")  # a year from 9000 on is no clock's


@dataclass(frozen=True)
class Run:
    """The folder of a run, and the paths of what is in it."""

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
        """Return the recipe that the run was trained with, after the overrides. Raises ConfigError."""
        return load(str(self.path / "recipe.yaml"), overrides or [])

    def manifest(self) -> dict[str, Any]:
        """Return the contents of run.json. Raises RunError if it cannot be read."""
        return read_record(self.manifest_file)

    def threads(self) -> int:
        """Return the number of threads that the run was trained with. Raises RunError if the record has none."""
        return recorded_threads(self.manifest(), self.manifest_file)

    def update(self, **values: Any) -> None:
        """Set values of the manifest and write it."""
        with disk_errors(self.manifest_file.name, self.path):
            fileio.write_json(self.manifest_file, {**self.manifest(), **values})

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Lock the folder against other trainings. Raises RunError if another process is training into it."""
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
    """Create the folder of a new run and return it. It appears with its recipe and manifest in it, or not at all."""
    run = Run(root / recipe.name / f"{_stamp_after(list_runs(root, recipe.name))}-{secrets.token_hex(3)}")
    with disk_errors("the folder of the run", root, OTHER_FOLDER), fileio.new_folder(run.path) as building:
        fileio.write_text(building / "recipe.yaml", to_yaml(recipe))
        fileio.write_json(building / "run.json", manifest)
    return run


def list_runs(root: Path = RUNS, recipe: str | None = None) -> list[Run]:
    """Return all runs, or those of one recipe, oldest first. One that may not be read is among them."""
    recipes = [path for path in _folders(root) if recipe in (None, path.name)]
    runs = [Run(path) for folder in recipes for path in _folders(folder) if _is_run(path)]
    return sorted(runs, key=lambda run: (_began(run), run.path.name))


def _is_run(path: Path) -> bool:
    try:
        return (path / "run.json").is_file()
    except OSError:  # somebody else's folder
        return NAME.fullmatch(path.name) is not None


def _began(run: Run) -> str:
    """Return when a run began, by its name; by its record if somebody renamed it; empty if neither says."""
    if found := NAME.fullmatch(run.path.name):
        return found[1]
    try:
        return datetime.fromisoformat(str(run.manifest().get("started"))).astimezone(timezone.utc).strftime(STAMP)
    except (RunError, ValueError, OverflowError, OSError):
        return ""


def _stamp_after(runs: list[Run]) -> str:
    """Return the time for the name of a run that begins now: after all others, also if a clock was ahead before."""
    now = datetime.now(timezone.utc)
    for run in runs:
        if found := NAME.fullmatch(run.path.name):
            try:
                before = datetime.strptime(found[1], STAMP).replace(tzinfo=timezone.utc)
            except ValueError:  # the 31st of February
                continue
            now = max(now, before + timedelta(seconds=1))
    return now.strftime(STAMP)


def _folders(path: Path) -> list[Path]:
    """Return the folders in a folder; none if it is missing or unreadable."""
    try:
        return [inner for inner in path.iterdir() if inner.is_dir()]
    except OSError:
        return []


def find_run(name: str, root: Path = RUNS) -> Run:
    """Return the run in a folder, or the newest run of a recipe.

    `name` is the path of the folder, or the name of the recipe. The folder is checked as if a stranger had written it
    (boundary.py). Raises RunError if there is no such run, or if it fails the check.
    """
    for path in (Path(name), root / name):
        try:
            found = (path / "run.json").is_file()
        except (OSError, ValueError):  # a name too long for a path, or with a NUL
            found = False
        if found:
            return _checked(Run(path))
    if of_recipe := list_runs(root, name):
        return _checked(of_recipe[-1])
    guess = did_you_mean(name, sorted(path.name for path in _folders(root)))
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    if len(name) <= 100 and Path(f"{name}.yaml").is_file():
        shown = f"./{name}.yaml"
    fix = f"did you mean {guess}?" if guess else f"`app train {shown}` makes one, or give the path of a run's folder"
    raise RunError(Problem(f"no run is at {shown} or in {root}/{shown}", fix))


def _checked(run: Run) -> Run:
    check_run_folder(run.path)
    return run
