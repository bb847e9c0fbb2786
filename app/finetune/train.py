"""`app train`: a recipe to a finished run folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app import fileio
from app.finetune.distributed.processes import from_first, joined
from app.finetune.engine.resume import restart
from app.finetune.session import Session, prepare
from app.finetune.tasks.base import Scores, Splits
from app.models.counts import count_parameters
from app.runs import curves, folder, manifest, records, report
from app.runs.disk import writing
from app.runs.folder import Run
from app.runs.weights import weights_digest
from app.schema import Recipe


@dataclass(frozen=True)
class Finished:
    """A run that is done."""

    run: Run
    scores: dict[str, Scores]
    """dev, test and what the task concludes."""
    speeds: dict[str, float]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """For a program to read."""
        scores = {split: scores.values for split, scores in self.scores.items()}
        return {"run": str(self.run.path), "scores": scores, "speeds": self.speeds, "seconds": round(self.seconds, 2)}

    def text(self) -> str:
        """For a person to read."""
        tables = [scores.tables for scores in list(self.scores.values())[-1:] if scores.tables]
        lines = [
            f"{split}: " + "  ".join(f"{n} {v:.4f}" for n, v in scores.values.items())
            for split, scores in self.scores.items()
        ]
        speed = "  ".join(f"{value:,.0f} {name}" for name, value in self.speeds.items())
        return "\n".join([*tables, "", *lines, f"speed: {speed}", f"run: {self.run.path} (report.md, model/)"])


def train_recipe(recipe: Recipe, runs: Path) -> Finished:
    """Train into a new run folder. Nothing is written where the recipe, the data or the model is wrong."""

    def new_run(splits: Splits) -> Run:
        return from_first(lambda: folder.create(recipe, manifest.manifest_of(recipe, splits.digests()), runs))

    with joined(recipe) as here:
        session = prepare(recipe, new_run)
        assert session.run is not None
        with session.run.in_use() if here.first else nullcontext():
            return carry_out(session, None)


def resume_run(run: Run, overrides: Sequence[str] = ()) -> Finished:
    """Go on with a run that was stopped, to the same bits as if it had not been."""
    with joined(run.recipe(list(overrides))) as here, run.in_use() if here.first else nullcontext():
        again = from_first(lambda: restart(run, overrides))
        torch.set_num_threads(run.manifest()["hardware"]["threads"])  # the bits of a sum depend on their number
        session = prepare(again.recipe, again.same_data)
        from_first(again.rewind)
        return carry_out(session, again.checkpoint)


def carry_out(session: Session, checkpoint: Path | None) -> Finished:
    """Train from the beginning or from a checkpoint, score, and write what a finished run leaves behind."""
    started = time.perf_counter()
    assert session.run is not None
    if session.trainer.is_global_zero:
        print(announcement(session), file=sys.stderr)
    session.fit(checkpoint)
    scores = {"dev": session.evaluate("dev")}
    if session.task.settle(session.model, session.module.judged, session.splits.dev):
        scores["dev"] = session.evaluate("dev")
    if session.splits.test is not None:
        scores["test"] = session.evaluate("test")
    concluded = session.task.conclude(session.model)
    if concluded:
        scores["check"] = concluded
    finished = Finished(session.run, scores, session.watch.speeds(), time.perf_counter() - started)
    if session.trainer.is_global_zero:
        finish(session, finished)
    return finished


def announcement(session: Session) -> str:
    """One line about what is going to be trained, on what."""
    parameters, _ = count_parameters(session.model)
    on_gpu = session.trainer.strategy.root_device.type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    examples = f"{len(session.splits.train):,} {session.task.unit}"
    return (
        f"{session.recipe.name}: {parameters:,} parameters, {examples} to learn from, {session.module.steps:,} steps "
        f"in {session.precision.word} on {device}"
    )


def finish(session: Session, finished: Finished) -> None:
    """Write the model, the report, and last the manifest's word that the run is finished."""
    run = finished.run
    with writing(run.model.name, run.path), fileio.new_folder(run.model) as building:
        session.task.save(session.model, building)
    summary = finished.summary()
    scores, tables = summary["scores"], {split: found.tables for split, found in finished.scores.items()}
    picture = run.path / "curves.svg"
    drawn = curves.draw(records.read_records(run.metrics), picture)
    text = report.report(session.recipe, run.manifest(), scores, tables, picture.name if drawn else None)
    fileio.write_text(run.report, text)
    run.update(
        precision=session.precision.word,
        weights_sha256=weights_digest(run.model),
        scores=scores,
        speeds=finished.speeds,
        seconds=summary["seconds"],
        finished=True,
    )
