"""From a recipe to a training that is ready to run: data, model, devices, batches, progress and checkpoints.

`prepare(recipe)` builds; `Session.fit()` trains; `Session.evaluate()` scores. `app train` does all of it inside a run
folder; the benchmark prepares a session without one and times `Session.step`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from app.data.batch import Batch, DataSet
from app.data.batching import BatchSampler, BatchSpec, loader
from app.data.reading import read_all
from app.errors import ConfigError, Problem
from app.finetune.distributed.processes import this_rank
from app.finetune.engine import rng
from app.finetune.engine.allocator import keep_freed_memory
from app.finetune.engine.checkpointing import Checkpointer
from app.finetune.engine.compiling import compiled
from app.finetune.engine.evaluation import Evaluation, evaluate, evaluation_loader, most_dev_batches
from app.finetune.engine.fabric import build_fabric, wrap
from app.finetune.engine.loop import TrainingLoop, TrainingStep
from app.finetune.engine.precision import Precision, precision_of
from app.finetune.engine.progress import Progress
from app.finetune.tasks import build_task
from app.finetune.tasks.base import Forward, Split, Splits, Task
from app.hardware import peaks
from app.runs.folder import Run
from app.runs.records import JsonLines, Recorder
from app.runs.trackers import trackers
from app.schema import Recipe


@dataclass
class Session:
    """A training that is ready to run."""

    recipe: Recipe
    task: Task[Any]
    splits: Splits
    model: nn.Module
    forward: Forward | None
    """The model's compiled form; None if it is not compiled."""
    fabric: Fabric
    precision: Precision
    train_loader: DataLoader[Batch]
    dev_loader: DataLoader[Batch]
    steps: int
    """Optimizer steps of the whole training."""
    progress: Progress
    checkpointer: Checkpointer | None
    """None without a run: nothing is evaluated while training, and nothing is kept."""

    @property
    def run(self) -> Run | None:
        """The run that this session trains into."""
        return self.checkpointer.run if self.checkpointer else None

    @cached_property
    def step(self) -> TrainingStep:
        """The training step. Making it moves the model to its device."""
        return TrainingStep(self.fabric, self.task, self.model, self.recipe, self.steps, self.forward)

    def fit(self, resume_from: Path | None = None) -> TrainingLoop:
        """Train, from a checkpoint if there is one, and put the best weights into the model.

        Raises Stopped, after writing a checkpoint, when a signal comes.
        """
        loop = TrainingLoop(self.step, self.train_loader, self.dev_loader, self.steps, self.progress, self.checkpointer)
        loop.run(resume_from)
        if self.checkpointer:
            if self.recipe.trainer.strategy == "fsdp":  # which has sharded this one
                self.model = self.task.model(self.splits.train)
            self.checkpointer.load_best(self.model, loop.best)
        return loop

    def evaluate(self, split: Split) -> Evaluation:
        """Score the model as it is now; on dev, the batches that `trainer.eval_batches` allows.

        Raises ConfigError if the recipe names no such data.
        """
        # FSDP would leave this process a part of the model, which is to be saved whole.
        model = copy.deepcopy(self.model) if self.recipe.trainer.strategy == "fsdp" else self.model
        if split == "dev":
            return evaluate(self.fabric, wrap(self.fabric, model), self.task, self.dev_loader)
        data = {"train": self.splits.train, "test": self.splits.test}[split]
        return evaluate_split(self.fabric, model, self.task, data, split)


def prepare(recipe: Recipe, new_run: Callable[[Splits], Run] | None = None) -> Session:
    """Build everything that a recipe asks for.

    `new_run` makes the run folder, after everything else is known to be right: if this raises a WorkspaceError, nothing
    has been written.
    """
    keep_freed_memory()
    settings, rank = recipe.trainer, this_rank()
    precision = precision_of(recipe)
    precision.apply()
    rng.make_deterministic(settings.deterministic)
    task = build_task(recipe)
    splits = read_splits(task)
    rng.seed(recipe.seed)
    model = task.model(splits.train)
    if not rank.is_zero:  # each process must draw other dropout masks
        rng.seed((recipe.seed + rank.rank) % 2**32)
    fabric = build_fabric(recipe, precision)
    cut = BatchSpec(settings.batch_size, settings.batch_tokens, True, recipe.seed)
    batches = BatchSampler(splits.train.lengths, cut, rank.rank, rank.world_size)
    steps = total_steps(recipe, len(batches))
    on_gpu = fabric.device.type == "cuda"
    run = new_run(splits) if new_run else None
    return Session(
        recipe=recipe,
        task=task,
        splits=splits,
        model=model,
        forward=compiled(model) if settings.compile else None,
        fabric=fabric,
        precision=precision,
        train_loader=loader(splits.train, batches, settings.workers, pin=on_gpu),
        dev_loader=evaluation_loader(splits.dev, recipe, most_dev_batches(recipe, task, steps, len(batches))),
        steps=steps,
        progress=Progress(
            task.unit, steps, settings.log_every, recorders(recipe, run), peak_rate(precision) if on_gpu else None
        ),
        checkpointer=Checkpointer(run) if run else None,
    )


def read_splits(task: Task[Any]) -> Splits:
    """Return the data of a recipe, encoded. Raises DataError with the problems of every split."""
    train, dev, test = read_all(partial(task.data, split) for split in get_args(Split))
    assert train is not None and dev is not None  # the schema asks for both
    return Splits(train, dev, test)


def recorders(recipe: Recipe, run: Run | None) -> list[Recorder]:
    """Return what takes the records of a run; only the first process writes."""
    if run is None or not this_rank().is_zero:
        return []
    return [JsonLines(run.metrics), *trackers(recipe, run)]


def evaluate_split(fabric: Fabric, model: nn.Module, task: Task[Any], data: DataSet | None, split: Split) -> Evaluation:
    """Score a model on all of a split. Raises ConfigError if the recipe names no such data."""
    if data is None:
        raise ConfigError(Problem(f"the recipe names no {split} data", f"add data.{split}=FILE"))
    return evaluate(fabric, wrap(fabric, model), task, evaluation_loader(data, task.recipe))


def total_steps(recipe: Recipe, batches: int) -> int:
    """Return the optimizer steps of the whole training; the last step of an epoch may have fewer micro-batches."""
    in_epochs = recipe.trainer.max_epochs * -(-batches // recipe.trainer.accumulate)
    return min(in_epochs, recipe.trainer.max_steps or in_epochs)


def peak_rate(precision: Precision) -> float | None:
    """Return the FLOP/s of the GPU's datasheet in a precision; None for a GPU that is not in the table."""
    gpu: Any = torch.cuda.get_device_properties(torch.cuda.current_device())
    peak = peaks.lookup(gpu.name, gpu.total_memory)
    return peak.rate(precision.word) if peak else None
