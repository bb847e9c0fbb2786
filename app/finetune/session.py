"""From a recipe to a trained model: everything a training needs, built once, driven by Lightning's Trainer.

`prepare(recipe)` builds; `Session.fit()` trains; `Session.evaluate()` scores. `app train` does all of it inside a run
folder; the benchmark prepares a session without one and drives the same training step.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn
from torch.utils.data import DataLoader

from app.compat import leave_memory_unfilled
from app.data.batch import Batch, DataSet
from app.data.batching import BatchSampler, BatchSpec, loader
from app.data.reading import read_all
from app.errors import ConfigError, Problem
from app.finetune.distributed.processes import place
from app.finetune.engine import precision
from app.finetune.engine.allocator import keep_freed_memory
from app.finetune.engine.checkpointing import Keep
from app.finetune.engine.compiling import compiled
from app.finetune.engine.module import FineTuning
from app.finetune.engine.position import Position, position_in
from app.finetune.engine.progress import Watch
from app.finetune.tasks.base import Scores, Split, Splits, Task, task_of
from app.hardware import peaks
from app.runs.checkpoints import SafeCheckpoints
from app.runs.folder import Run
from app.runs.records import JsonLines
from app.runs.trackers import trackers
from app.schema import Recipe

NEVER = sys.maxsize
EVALUATION_FACTOR = 2  # an evaluation keeps no activations for backward, so its batches may be this much larger


@dataclass
class Session:
    """A training that is ready to go."""

    recipe: Recipe
    task: Task[Any]
    splits: Splits
    model: nn.Module
    module: FineTuning
    trainer: pl.Trainer
    train_loader: DataLoader[Batch]
    dev_loader: DataLoader[Batch]
    test_loader: DataLoader[Batch] | None
    precision: precision.Precision
    watch: Watch
    run: Run | None
    keep: Keep | None

    def fit(self, resume_from: Path | None = None) -> None:
        """Train, in a run from a checkpoint of it, evaluating on dev as the recipe says; ends with the best weights in
        the model. Raises Stopped, after a checkpoint, where a signal came."""
        position, batches = position_in(resume_from) if resume_from else Position(), self.train_loader.sampler
        assert isinstance(batches, BatchSampler)
        batches.begin(position.epoch, position.batch)
        self.trainer.fit(self.module, self.train_loader, self.dev_loader, ckpt_path=resume_from and str(resume_from))
        if self.keep:
            if self.keep.boundary is None and position.evaluation_due:  # stopped in the very last evaluation
                self.trainer.validate(self.module, self.dev_loader, verbose=False)
            self._load_best()

    def evaluate(self, split: Split) -> Scores:
        """Scores of the model as it is now."""
        data = {"train": self.splits.train, "dev": self.splits.dev, "test": self.splits.test}[split]
        scores = scores_of(self.trainer, self.module, data, split)
        if self.recipe.trainer.strategy == "fsdp":
            self._load_best()
        return scores

    def _load_best(self) -> None:
        """The best weights into the model; FSDP has left this process's part of it, so that one is built again."""
        if self.keep:
            if self.recipe.trainer.strategy == "fsdp":
                self.model = self.module.model = self.task.model()
            self.keep.load_best(self.module)


def prepare(recipe: Recipe, new_run: Callable[[Splits], Run] | None = None) -> Session:
    """Build everything a recipe says. `new_run` makes the folder for records and checkpoints, once all else is known
    to be right: where this raises a WorkspaceError, nothing has been written."""
    quiet_lightning()
    keep_freed_memory()
    accelerator = accelerator_of(recipe)
    chosen = precision_of(recipe, accelerator)
    task = task_of(recipe)
    splits = splits_of(task)
    pl.seed_everything(recipe.seed, workers=True)
    model = task.model()
    task.operations(model)
    settings = recipe.trainer
    here, cut = place(), BatchSpec(settings.batch_size, settings.batch_tokens, True, recipe.seed)
    batches = BatchSampler(splits.train.lengths, cut, here.rank, here.world)
    if not here.first:
        pl.seed_everything(
            (recipe.seed + here.rank) % 2**32, workers=True
        )  # the same dropout everywhere would be half of it
    steps = total_steps(recipe, len(batches))
    module = FineTuning(task, model, recipe, steps)
    if settings.compile and (form := compiled(model)):
        module.compiled.append(form)
    watch = Watch(task.unit, steps, settings.log_every, peak_rate(chosen) if accelerator == "cuda" else None)
    run = new_run(splits) if new_run else None
    keep = Keep(run, watch, settings.eval_every, settings.checkpoint_every) if run else None
    return Session(
        recipe=recipe,
        task=task,
        splits=splits,
        model=model,
        module=module,
        trainer=build_trainer(recipe, chosen, [watch, *([keep] if keep else [])], run, steps),
        train_loader=loader(splits.train, batches, settings.workers, pin=accelerator == "cuda"),
        dev_loader=evaluation_loader(splits.dev, recipe),
        test_loader=evaluation_loader(splits.test, recipe) if splits.test is not None else None,
        precision=chosen,
        watch=watch,
        run=run,
        keep=keep,
    )


def splits_of(task: Task[Any]) -> Splits:
    """The data of a recipe, encoded. Raises DataError with the problems of every split."""
    train, dev, test = read_all(partial(task.data, split) for split in get_args(Split))
    assert train is not None and dev is not None  # the schema asks for both
    return Splits(train, dev, test)


def build_trainer(
    recipe: Recipe, chosen: precision.Precision, callbacks: list[pl.Callback], run: Run | None, steps: int
) -> pl.Trainer:
    """Lightning's Trainer, with its own records, checkpoints and bars off: ours are `callbacks` and the loggers."""
    settings, here = recipe.trainer, place()
    leave_memory_unfilled()
    loggers: list[Logger] = []
    if run:
        loggers = [JsonLines(run.metrics), *trackers(recipe, run)]
    return pl.Trainer(
        accelerator=accelerator_of(recipe),  # not auto, which on a Mac would be neither of the two
        devices=here.local_world,
        num_nodes=here.world // here.local_world,
        strategy=strategy_of(recipe),
        precision=chosen.lightning,
        max_epochs=settings.max_epochs,
        max_steps=steps,
        accumulate_grad_batches=settings.accumulate,
        check_val_every_n_epoch=NEVER,  # `Keep` evaluates, between two optimizer steps
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[SafeCheckpoints(), TorchElasticEnvironment() if here.world > 1 else LightningEnvironment()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=settings.deterministic,
        default_root_dir=str(run.path) if run else None,
    )


def scores_of(trainer: pl.Trainer, module: FineTuning, data: DataSet | None, split: Split) -> Scores:
    """Scores of a module's model on a split. Raises ConfigError where there is no such data."""
    if data is None:
        raise ConfigError(Problem(f"the recipe names no {split} data", f"add data.{split}=FILE"))
    trainer.test(module, evaluation_loader(data, module.recipe), verbose=False)
    assert module.scores is not None
    return module.scores


def evaluation_loader(data: DataSet, recipe: Recipe) -> DataLoader[Batch]:
    """All of a split, longest examples together, nothing shuffled."""
    settings = recipe.trainer
    tokens = settings.batch_tokens * EVALUATION_FACTOR if settings.batch_tokens else None
    cut = BatchSpec(settings.batch_size * EVALUATION_FACTOR, tokens, shuffle=False)
    here = place()
    return loader(data, BatchSampler(data.lengths, cut, here.rank, here.world), workers=0, pin=False)


def total_steps(recipe: Recipe, batches: int) -> int:
    """Optimizer steps of the whole training; an epoch's last ones may accumulate fewer batches."""
    in_epochs = recipe.trainer.max_epochs * -(-batches // recipe.trainer.accumulate)
    return min(in_epochs, recipe.trainer.max_steps or in_epochs)


def accelerator_of(recipe: Recipe) -> Literal["cpu", "cuda"]:
    """What the recipe will run on. Raises ConfigError where it asks for a GPU and there is none."""
    if recipe.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            Problem(
                "trainer.accelerator: gpu, but torch sees no GPU", "say trainer.accelerator=auto, or see `app doctor`"
            )
        )
    return "cuda" if recipe.trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu"


def strategy_of(recipe: Recipe) -> str | Strategy:
    """Lightning's strategy: FSDP with our checkpoints, DDP with what the model asks of it, or the recipe's word."""
    if recipe.trainer.strategy == "fsdp":
        from app.finetune.distributed.fsdp import Sharded  # a second of imports that few trainings need

        return Sharded()
    if place().world == 1:
        return recipe.trainer.strategy
    return DDPStrategy(
        find_unused_parameters=bool(recipe.freeze.gradual),  # layers that still sleep get no gradient
        broadcast_buffers=False,  # the same everywhere from the start, and an embedding's table is as large as it
    )


def precision_of(recipe: Recipe, accelerator: Literal["cpu", "cuda"]) -> precision.Precision:
    """The recipe's precision on this machine, in force from now on. Raises ConfigError where it would be emulated."""
    capability = torch.cuda.get_device_capability() if accelerator == "cuda" else (0, 0)
    chosen = precision.choose(recipe.trainer.precision, accelerator, precision.cpu_flags(), capability)
    chosen.apply()
    return chosen


def peak_rate(chosen: precision.Precision) -> float | None:
    """FLOP/s that the GPU's datasheet promises in a precision; None for a GPU that is not in the table."""
    gpu: Any = torch.cuda.get_device_properties(torch.cuda.current_device())
    peak = peaks.lookup(gpu.name, gpu.total_memory)
    return peak.rate(chosen.word) if peak else None


def quiet_lightning() -> None:
    """Turn off Lightning's advice that does not hold here: batches are prepared in the process on purpose."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    warnings.filterwarnings("ignore", message="predict returned None.*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*logging interval.*")
