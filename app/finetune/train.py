"""`app train`: from a recipe to a finished run folder."""

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
from app.errors import Problem, RunError
from app.finetune.distributed.processes import broadcast_from_rank0, process_group
from app.finetune.engine.loop import TrainingLoop
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
    dev_scored: tuple[int, int]
    """Examples of dev that were scored, and all of them; `trainer.eval_batches` or the task limits the first."""

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
        scored, of = self.dev_scored
        if scored < of:
            lines[0] += f"  (on {scored:,} of {of:,} examples; trainer.eval_batches sets it)"
        speed = "  ".join(f"{value:,.0f} {name}" for name, value in self.speeds.items())
        return "\n".join([*tables, "", *lines, f"speed: {speed}", f"run: {self.run.path} (report.md, model/)"])


def train_recipe(recipe: Recipe, runs: Path) -> Finished:
    """Train into a new run folder. Nothing is written if the recipe, the data or the model is wrong."""

    def new_run(splits: Splits) -> Run:
        return broadcast_from_rank0(lambda: folder.create(recipe, manifest.manifest_of(recipe, splits.digests()), runs))

    with process_group(recipe) as rank:
        session = prepare(recipe, new_run)
        assert session.run is not None
        with session.run.in_use() if rank.is_zero else nullcontext():
            return run_to_end(session, None)


def resume_run(run: Run, overrides: Sequence[str] = ()) -> Finished:
    """Continue a run that was stopped, to the same bits as if it had not been."""
    with process_group(run.recipe(list(overrides))) as rank, run.in_use() if rank.is_zero else nullcontext():
        again = broadcast_from_rank0(lambda: restart(run, overrides))
        torch.set_num_threads(run.threads())  # the bits of a sum depend on their number
        session = prepare(again.recipe, again.same_data)
        broadcast_from_rank0(again.rewind)
        return run_to_end(session, again.checkpoint)


def run_to_end(session: Session, checkpoint: Path | None) -> Finished:
    """Train from the beginning or from a checkpoint, score, and write what a finished run leaves behind."""
    started = time.perf_counter()
    assert session.run is not None
    if session.fabric.is_global_zero:
        print(describe(session), file=sys.stderr)
    loop = session.fit(checkpoint)
    dev = session.evaluate("dev")
    if session.task.calibrate(session.model, dev.predictions, session.splits.dev):
        dev = session.evaluate("dev")
    scores = {"dev": dev.scores}
    if session.splits.test is not None:
        scores["test"] = session.evaluate("test").scores
    if checked := session.task.verify(session.model):
        scores["check"] = checked
    finished = Finished(
        session.run,
        scores,
        session.progress.speeds(),
        time.perf_counter() - started,
        (len(dev.predictions), len(session.splits.dev)),
    )
    if session.fabric.is_global_zero:
        finish(session, loop, finished)
    return finished


def describe(session: Session) -> str:
    """Return one line about what is going to be trained, on what."""
    parameters, _ = count_parameters(session.model)
    on_gpu = session.fabric.device.type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    examples = f"{len(session.splits.train):,} {session.task.unit}"
    return (
        f"{session.recipe.name}: {parameters:,} parameters, {examples} to learn from, {session.steps:,} steps "
        f"in {session.precision.word} on {device}"
    )


def finish(session: Session, loop: TrainingLoop, finished: Finished) -> None:
    """Write the model, the report, and last the manifest's word that the run is finished."""
    run = finished.run
    with writing(run.model.name, run.path), fileio.new_folder(run.model) as building:
        session.task.save(session.model, building)
        digest = weights_digest(building)
    if weights_digest(run.model) != digest:
        what = "model/ holds other weights than were trained: an older folder could not be replaced"
        raise RunError(Problem(what, f"remove it, then `app train --resume {run.path}`", str(run.model)))
    summary = finished.summary()
    scores, tables = summary["scores"], {split: found.tables for split, found in finished.scores.items()}
    picture = run.path / "curves.svg"
    drawn = curves.draw(records.read_records(run.metrics), picture)
    text = report.report(
        session.recipe, run.manifest(), scores, tables, picture.name if drawn else None, finished.dev_scored
    )
    fileio.write_text(run.report, text)
    run.update(
        precision=session.precision.word,
        steps=loop.position.step,
        dev_scored=dict(zip(("examples", "of"), finished.dev_scored)),
        weights_sha256=digest,
        scores=scores,
        speeds=finished.speeds,
        seconds=summary["seconds"],
        finished=True,
    )
