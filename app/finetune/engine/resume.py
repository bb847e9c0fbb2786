"""Resume a run: which checkpoint, which recipe, and what must not have changed meanwhile."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from app import fileio
from app.config import fingerprint, resolved, to_yaml
from app.errors import ConfigError, DataError, Problem, RunError, print_warning
from app.finetune.tasks.base import Splits
from app.hardware.versions import package_versions
from app.runs import checkpoints, records
from app.runs.disk import disk_errors
from app.runs.folder import Run
from app.schema import Recipe

NEUTRAL = ("trainer.checkpoint_every", "trainer.log_every", "trainer.workers", "tracking", "about")  # change no weight
LENGTH = ("trainer.max_epochs", "trainer.max_steps")
OPEN_ENDED = ("constant", "inverse_sqrt")  # schedules that do not depend on the length of the training


@dataclass(frozen=True)
class Restart:
    """A run to continue."""

    run: Run
    recipe: Recipe
    checkpoint: Path | None
    """None if there is none yet: from the beginning."""

    def same_data(self, splits: Splits) -> Run:
        """Return the run after checking that its data has not changed. Raises DataError."""
        same_data(self.run, splits)
        return self.run

    def rewind(self) -> None:
        """Put the folder back to the moment of the checkpoint, and record that the run continues."""
        recorded = checkpoints.plain(self.checkpoint)["records"] if self.checkpoint else 0
        step = checkpoints.step_of(self.checkpoint) if self.checkpoint else -1
        with disk_errors(self.run.path.name, self.run.path):
            self._rewind(recorded, step)

    def _rewind(self, recorded: int, step: int) -> None:
        for problem in records.rewind(self.run.metrics, recorded):
            print_warning(problem)
        checkpoints.forget_after(self.run.checkpoints, step)
        shutil.rmtree(self.run.model, ignore_errors=True)
        if os.path.lexists(self.run.model):
            what = "the model of the run is to be replaced and cannot be removed"
            raise RunError(Problem(what, "give yourself access to it, or remove it", str(self.run.model)))
        resumed = self.run.manifest().get("resumed", [])
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        fileio.write_text(self.run.path / "recipe.yaml", to_yaml(self.recipe))
        self.run.update(
            recipe_sha256=fingerprint(self.recipe),
            resumed=[*resumed, {"at": now, "step": max(0, step)}],
            finished=False,
        )


def restart(run: Run, overrides: Sequence[str]) -> Restart:
    """Choose the checkpoint and check the overrides. A damaged checkpoint is named on stderr and skipped.

    Raises RunError if nothing is left to do, ConfigError for an override that would make it another run.
    """
    recipe = run.recipe(list(overrides))
    refuse_other_identity(run.recipe(), recipe)
    written = run.manifest()
    if missing := [key for key in ("versions", "data_sha256", "recipe_sha256") if key not in written]:
        what = f"the record has no {', '.join(missing)}"
        raise RunError(Problem(what, "restore it from a copy, or train again", str(run.manifest_file)))
    if written.get("finished") and fingerprint(recipe) == written["recipe_sha256"]:
        fix = f"see `app evaluate {run.path}`, or give a longer trainer.max_epochs"
        raise RunError(Problem("the run is finished: there is nothing to resume", fix, str(run.path)))
    for package, version in package_versions().items():
        before = written["versions"].get(package)
        if before != version:
            what = f"{package} was {before} and is {version}: bits may differ"
            print_warning(Problem(what, "for the same bits, resume in the environment that the run began in"))
    checkpoint, damaged = checkpoints.newest(run.checkpoints)
    for problem in damaged:
        print_warning(replace(problem, fix="nothing to do: the training continues from the state before it"))
    begun = f"step {checkpoints.step_of(checkpoint)}" if checkpoint else "the beginning: there is no checkpoint yet"
    print(f"resuming {run.path} from {begun}", file=sys.stderr)
    return Restart(run, recipe, checkpoint)


def same_data(run: Run, splits: Splits) -> None:
    """Raise DataError if the data has changed since the run began."""
    before, now = run.manifest()["data_sha256"], splits.digests()
    changed = [split for split in now if before.get(split) != now[split]]
    if changed:
        what = f"the data of {' and '.join(changed)} changed since the run began"
        raise DataError(Problem(what, "restore the old data, or train a new run", str(run.path)))


def refuse_other_identity(before: Recipe, now: Recipe) -> None:
    """Raise ConfigError for each changed setting that changes the weights."""
    old, new = flat(resolved(before)), flat(resolved(now))
    problems = []
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) == new.get(key) or key in NEUTRAL:
            continue
        if key in LENGTH and _open_ended(now):
            continue
        why = (
            f"the {now.schedule.name} schedule is stretched over the whole training, so all its steps would differ"
            if key in LENGTH
            else "a resumed run keeps its settings"
        )
        fix = f"leave it, or start another run: `app train {before.name} {key}={new.get(key)}`"
        problems.append(Problem(f"{key}: {old.get(key)!r} cannot become {new.get(key)!r}: {why}", fix))
    if problems:
        raise ConfigError(*problems)


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as `section.key`."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings}
    return {k: v for name, value in settings.items() for k, v in flat(value, f"{prefix}.{name}".lstrip(".")).items()}


def _open_ended(recipe: Recipe) -> bool:
    """Return whether a longer training begins with the same steps as a shorter one."""
    schedule = recipe.schedule
    return schedule.name in OPEN_ENDED and (schedule.warmup == 0 or schedule.warmup >= 1)
