"""`app train`: from a recipe to a finished run folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from app import fileio
from app.data.batch import DataSet
from app.errors import Problem, RunError
from app.finetune.distributed.processes import broadcast_from_rank0, process_group
from app.finetune.engine.loop import TrainingLoop
from app.finetune.engine.resume import restart
from app.finetune.session import Session, prepare
from app.finetune.tasks import build_task
from app.finetune.tasks.base import Scores, Splits, Task
from app.hardware.cores import CoreUse, free_cores
from app.hardware.cpu import usable_cores
from app.models.counts import count_parameters
from app.runs import manifest, records, report
from app.runs.checkpoints import weights_digest
from app.runs.disk import disk_errors
from app.runs.folder import OTHER_FOLDER, Run, create_run
from app.schema import Recipe

PROBED = 4  # examples of dev on which the saved model is compared with the trained one
TOLERANCE = 1e-2  # relative, and absolute below 1: a GPU's TF32, or LoRA merged into the weights, changes about 1e-3


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
    kept: tuple[int, int]
    """The optimizer step whose weights were kept, the best on dev, and the steps that were done."""

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
        step, steps = self.kept
        if step < steps:
            lines.append(f"weights: those of step {step:,} of {steps:,}, the best on dev")
        speed = "  ".join(f"{value:,.0f} {name}" for name, value in self.speeds.items())
        return "\n".join([*tables, "", *lines, f"speed: {speed}", f"run: {self.run.path} (report.md, model/)"])


def train_recipe(recipe: Recipe, runs: Path) -> Finished:
    """Train into a new run folder. Nothing is written if the recipe, the data or the model is wrong."""

    def new_run(splits: Splits) -> Run:
        return broadcast_from_rank0(lambda: create_run(recipe, manifest.manifest_of(recipe, splits.digests()), runs))

    with disk_errors("the folder of the run", runs, OTHER_FOLDER):
        fileio.check_writable(runs / recipe.name)  # before the data is read and encoded
    with process_group(recipe) as rank:
        session = prepare(recipe, new_run)
        assert session.run is not None
        with session.run.in_use() if rank.is_zero else nullcontext():
            return run_to_end(session, None)


def use_free_cores(recipe: Recipe, since: CoreUse | None) -> None:
    """Take fewer threads if other programs have kept cores busy `since` then, and say so.

    `OMP_NUM_THREADS`, which a launcher of several processes also sets, is obeyed instead. The run records the number,
    and whatever continues or repeats the run takes the recorded one.
    """
    on_gpu = recipe.trainer.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpu or "OMP_NUM_THREADS" in os.environ:
        return
    threads, free = torch.get_num_threads(), free_cores(since)
    if free < threads:
        print(
            f"other programs leave {free} of {usable_cores()} cores free: training on {free} instead of {threads} "
            "threads (OMP_NUM_THREADS sets the number)",
            file=sys.stderr,
        )
        torch.set_num_threads(free)


def resume_run(run: Run, overrides: Sequence[str] = ()) -> Finished:
    """Continue a run that was stopped, to the same bits as if it had not been."""
    with disk_errors(run.path.name, run.path):
        fileio.check_writable(run.path)
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
        (loop.best.step if loop.best.step >= 0 else loop.position.step, loop.position.step),
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
    """Write the model, the report, and last the manifest's word that the run is finished.

    Raises RunError, and leaves no model, if the written model answers otherwise than the trained one.
    """
    run = finished.run
    trained = answers_of(session.task, session.model, session.splits.dev)
    with disk_errors(run.model.name, run.path), fileio.new_folder(run.model) as building:
        session.task.save(session.model, building)
        check_saved(session, trained, building)
        digest = weights_digest(building)
    if weights_digest(run.model) != digest:
        what = "model/ holds other weights than were trained: an older folder could not be replaced"
        raise RunError(Problem(what, f"remove it, then `app train --resume {run.path}`", str(run.model)))
    summary = finished.summary()
    scores, tables = summary["scores"], {split: found.tables for split, found in finished.scores.items()}
    picture = run.path / "curves.svg"
    with disk_errors(run.report.name, run.path):
        drawn = report.draw_curves(records.read_records(run.metrics), picture)
        text = report.report_markdown(
            session.recipe,
            run.manifest(),
            scores,
            tables,
            picture.name if drawn else None,
            finished.dev_scored,
            finished.kept,
        )
        fileio.write_text(run.report, text)
    run.update(
        precision=session.precision.word,
        steps=loop.position.step,
        kept_step=finished.kept[0],
        dev_scored=dict(zip(("examples", "of"), finished.dev_scored)),
        weights_sha256=digest,
        scores=scores,
        speeds=finished.speeds,
        seconds=summary["seconds"],
        finished=True,
    )


def answers_of(task: Task[Any], model: nn.Module, data: DataSet) -> np.ndarray[Any, Any]:
    """Return the losses and the probabilities or numbers that a model gives for the first examples, in one array."""
    device = next(model.parameters()).device
    batch = data[np.arange(min(PROBED, len(data)))].to(device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        predictions = task.predict(model, batch)
    for module, mode in modes:
        module.training = mode
    parts = [np.ravel(part) for p in predictions for part in (p.loss, p.answer, p.detail) if part is not None]
    return np.concatenate([part for part in parts if part.dtype.kind == "f"])  # a class is no measure of closeness


def check_saved(session: Session, trained: np.ndarray[Any, Any], folder: Path) -> None:
    """Raise RunError if the model in a folder does not give the answers of the trained model.

    It is loaded on the CPU: next to the optimizer's state, the GPU may have no room for it.
    """
    task = build_task(session.recipe)
    saved = answers_of(task, task.load(folder), session.splits.dev)
    off = np.abs(saved - trained) / np.maximum(1.0, np.abs(trained))
    if not off.max(initial=0.0) <= TOLERANCE and np.isfinite(trained).all():
        what = f"the model as it was saved does not answer like the trained one: the answers differ by {off.max():.2g}"
        fix = f"its kind of model is not supported; the weights that were trained are in {session.run.checkpoints}"  # type: ignore[union-attr]
        raise RunError(Problem(what, fix, str(folder)))
