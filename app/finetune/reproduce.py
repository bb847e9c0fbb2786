"""Train by the recipe of a run again, and report every difference, bit for bit: `app reproduce RUN`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import Problem, RunError
from app.runs.folder import Run

CIRCUMSTANCES = ("versions", "code", "hardware", "precision")
RESULTS = ("data_sha256", "base_sha256", "scores", "weights_sha256")  # what goes in, and what comes out
FIX = "restore what differs in its circumstances (below), or accept the new result"


@dataclass(frozen=True)
class Difference:
    """One value that differs."""

    what: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.what} was {self.before} and is {self.now}"


def repeat(run: Run, runs: Path) -> Run:
    """Train by the recipe of a finished run again, on as many threads: the bits of a sum depend on their number.

    Raises RunError if the first run is not finished, or if its recipe was edited since.
    """
    import torch

    from app.config import fingerprint
    from app.finetune.train import train_recipe

    before, recipe = run.manifest(), run.recipe()
    if not before.get("finished"):
        raise RunError(
            Problem("the run is not finished", f"`app train --resume {run.path}` continues it", str(run.path))
        )
    if fingerprint(recipe) != before["recipe_sha256"]:
        what = "recipe.yaml is not the recipe that the run was trained by"
        raise RunError(Problem(what, "restore it: its sha256 is in run.json", str(run.path)))
    torch.set_num_threads(run.threads())
    again = train_recipe(recipe, runs).run
    again.update(reproduces=str(run.path))
    return again


def verdict(run: Run, again: Run) -> str:
    """Return one line if both runs are the same.

    Raises RunError with every difference in the results, and every difference that may be its reason.
    """
    from app.runs.records import read_records

    before, now = run.manifest(), again.manifest()
    results = [
        *differences(before, now, [name for name in RESULTS if name in before]),  # older records lack base_sha256
        *first_difference(read_records(run.metrics), read_records(again.metrics)),
    ]
    around = differences(before, now, CIRCUMSTANCES)
    if results:
        reasons = [Problem(str(d), "a possible reason") for d in around]
        raise RunError(*(Problem(str(d), FIX, str(again.path)) for d in results), *reasons)
    for difference in around:
        print(f"note: {difference}; the results are the same", file=sys.stderr)
    return f"{again.path} repeats {run.path} to the last bit: weights sha256 {now['weights_sha256']}"


def differences(before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]) -> list[Difference]:
    """Return the values under these names that differ between two manifests, each by its path."""
    return [d for name in names for d in _between(name, before.get(name), now.get(name))]


def first_difference(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[Difference]:
    """Yield what differs in the first record that differs; speeds and memory are not compared."""
    for a, b in zip(map(_comparable, before), map(_comparable, now)):
        if a != b:
            names = [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]
            for name in sorted(names):
                yield Difference(f"{name} at step {a.get('step')}", a.get(name), b.get(name))
            return
    if len(before) != len(now):
        yield Difference("the number of records", len(before), len(now))


def _comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in record.items() if not name.endswith("/s") and name not in ("mfu", "memory_gib")
    }


def _between(path: str, before: Any, now: Any) -> list[Difference]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [d for key in {**before, **now} for d in _between(f"{path}.{key}", before.get(key), now.get(key))]
    return [] if before == now else [Difference(path, before, now)]
