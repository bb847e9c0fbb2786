"""`app evaluate` and `app predict`: the model of a finished run on data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from app.data.lines import InputLines
from app.errors import ConfigError, Problem, RunError
from app.finetune.engine.evaluation import evaluation_loader, predict
from app.finetune.engine.fabric import build_fabric, wrap
from app.finetune.engine.precision import precision_of
from app.finetune.session import evaluate_split
from app.finetune.tasks import build_task
from app.finetune.tasks.base import Scores, Split, Task
from app.runs.folder import Run
from app.schema import Recipe


def evaluate_run(run: Run, recipe: Recipe, split: Split) -> Scores:
    """Score a run's model on a split of the data that `recipe` names: the run's own, or one with overrides."""
    fabric, task, model = load_run(run, recipe)
    return evaluate_split(fabric, model, task, task.data(split), split).scores


def predict_lines(run: Run, file: str | None) -> Iterator[dict[str, Any]]:
    """Return what the model answers to each example of a file, or of stdin for None, in its order.

    Answers to lines carry their number, from 1; an empty line gets the task's `no_answer`.
    """
    fabric, task, model = load_run(run, run.recipe())
    data = task.predict_dataset(file)
    predictions = predict(fabric, wrap(fabric, model), task, evaluation_loader(data, task.recipe))
    answers = task.json_lines(predictions, data)
    source: InputLines | None = getattr(data, "source", None)  # images have file names instead
    yield from answers if source is None else numbered(answers, source, task.no_answer)


def numbered(
    answers: Iterator[dict[str, Any]], source: InputLines, no_answer: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Return one answer for each line of an input, in its order, with the number of the line."""
    full = ({"line": line, **answer} for line, answer in zip(source.full, answers, strict=True))
    empty = ({"line": line, **no_answer} for line in source.empty)
    return merge(full, empty, key=itemgetter("line"))


def load_run(run: Run, recipe: Recipe) -> tuple[Fabric, Task[Any], nn.Module]:
    """Return a run's model, its task and a device for it. Raises RunError if the training has not finished."""
    if not run.model.is_dir():
        raise RunError(Problem("the run has no trained model yet", "finish its training first", str(run.path)))
    recipe = on_this_machine(recipe)
    precision = precision_of(recipe)
    precision.apply()
    task: Task[Any] = build_task(recipe)
    return build_fabric(recipe, precision), task, task.load(run.model)


def on_this_machine(recipe: Recipe) -> Recipe:
    """Return the recipe for one device of this machine, which may differ from the one that trained it."""
    trainer = recipe.trainer.model_copy(update={"strategy": "auto", "devices": 1, "nodes": 1})
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        trainer = trainer.model_copy(update={"accelerator": "auto"})
    fitting = recipe.model_copy(update={"trainer": trainer})
    try:
        precision_of(fitting)
    except ConfigError:
        print(f"trainer.precision: {trainer.precision} does not run on this machine; taking auto", file=sys.stderr)
        fitting = recipe.model_copy(update={"trainer": trainer.model_copy(update={"precision": "auto"})})
    return fitting
