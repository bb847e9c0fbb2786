"""`app evaluate` and `app predict`: a finished run's model over data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch

from app.errors import ConfigError, Problem, RunError
from app.finetune.engine.module import FineTuning
from app.finetune.session import (
    accelerator_of,
    build_trainer,
    evaluation_loader,
    precision_of,
    quiet_lightning,
    scores_of,
)
from app.finetune.tasks.base import Scores, Split, task_of
from app.runs.folder import Run
from app.schema import Recipe


def evaluate_run(run: Run, recipe: Recipe, split: Split) -> Scores:
    """Scores of a run's model on a split of the data that `recipe` (the run's, perhaps overridden) names."""
    trainer, module = _opened(run, recipe)
    return scores_of(trainer, module, module.task.data(split), split)


def predict_lines(run: Run, file: str | None) -> Iterator[dict[str, Any]]:
    """What the model says to each text of a file, or of stdin for None, in the order of the file."""
    trainer, module = _opened(run, run.recipe())
    data = module.task.unlabelled(file)
    loader = evaluation_loader(data, module.recipe)
    trainer.predict(module, loader, return_predictions=False)
    yield from module.task.lines(sorted(module.judged, key=lambda j: j.index), data)


def on_this_machine(recipe: Recipe) -> Recipe:
    """The recipe on one device of this machine, which need not be like the one it was trained on."""
    trainer = recipe.trainer.model_copy(update={"strategy": "auto", "devices": 1, "nodes": 1})
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        trainer = trainer.model_copy(update={"accelerator": "auto"})
    fitting = recipe.model_copy(update={"trainer": trainer})
    try:
        precision_of(fitting, accelerator_of(fitting))
    except ConfigError:
        print(f"trainer.precision: {trainer.precision} is not for this machine; taking auto", file=sys.stderr)
        fitting = recipe.model_copy(update={"trainer": trainer.model_copy(update={"precision": "auto"})})
    return fitting


def _opened(run: Run, recipe: Recipe) -> tuple[pl.Trainer, FineTuning]:
    """A run's model and a Trainer to drive it. Raises RunError where the training has not finished."""
    quiet_lightning()
    if not run.model.is_dir():
        raise RunError(Problem("the run has no trained model yet", "finish its training first", str(run.path)))
    recipe = on_this_machine(recipe)
    chosen = precision_of(recipe, accelerator_of(recipe))
    task = task_of(recipe)
    module = FineTuning(task, task.load(run.model), recipe, steps=1)
    return build_trainer(recipe, chosen, callbacks=[], run=None, steps=1), module
