"""Evaluation: a model's predictions on a data set, and what the task makes of them. It moves no random generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from app.data.batch import Batch, DataSet
from app.data.batching import BatchSampler, BatchSpec, ShardedDataset, loader
from app.finetune.distributed import processes
from app.finetune.engine import rng
from app.finetune.tasks.base import Prediction, Scores, Task
from app.schema import Recipe

BATCH_FACTOR = 2  # an evaluation keeps no activations for backward, so its batches may be this much larger
SHARE = 0.1  # of the training time that a language model's evaluations on dev may take
FORWARD_SHARE = 1 / 3  # of a training step's operations are the forward pass: 2 of 6 for each parameter and token


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. The predictions are in the order of the data, each example once."""

    predictions: list[Prediction]
    scores: Scores


def evaluate(
    fabric: Fabric,
    module: nn.Module,
    task: Task[Any],
    batches: DataLoader[Batch],
    between_batches: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score the batches of a data set, over all processes. `module`: the model as `engine.fabric.wrap` returns it.

    Leaves the module in evaluation mode. `between_batches` may raise to end the evaluation.
    """
    predictions = predict(fabric, module, task, batches, between_batches)
    data: Any = batches.dataset
    return Evaluation(predictions, task.score(predictions, data.data if isinstance(data, ShardedDataset) else data))


def predict(
    fabric: Fabric,
    module: nn.Module,
    task: Task[Any],
    batches: DataLoader[Batch],
    between_batches: Callable[[], None] = lambda: None,
) -> list[Prediction]:
    """Return the predictions of all processes, in the order of the data, each example once."""
    found: list[Prediction] = []
    module.eval()
    with rng.kept(), torch.no_grad():
        for batch in batches:
            with fabric.autocast():
                found += module(_predictions, task, batch.to(fabric.device))
            between_batches()
    every = {prediction.index: prediction for part in processes.all_gather(found) for prediction in part}
    return [every[index] for index in sorted(every)]


def _predictions(model: nn.Module, task: Task[Any], batch: Batch) -> list[Prediction]:
    return task.predict(model, batch) if len(batch) else []  # the examples of a small batch may all be with others


def evaluation_loader(data: DataSet, recipe: Recipe, most_batches: int | None = None) -> DataLoader[Batch]:
    """Return all of a data set in batches, or `most_batches` of them, evenly spaced; nothing is shuffled."""
    settings, rank = recipe.trainer, processes.this_rank()
    tokens = settings.batch_tokens * BATCH_FACTOR if settings.batch_tokens else None
    cut = BatchSpec(settings.batch_size * BATCH_FACTOR, tokens, shuffle=False, most=most_batches)
    return loader(data, BatchSampler(data.lengths, cut, rank.rank, rank.world_size), workers=0, pin=False)


def most_dev_batches(recipe: Recipe, task: Task[Any], steps: int, batches_per_epoch: int) -> int | None:
    """Return how many batches of dev an evaluation takes; None for all of them.

    `trainer.eval_batches`, if it is set. Else a language model's evaluations take about a tenth of the time of the
    training between two of them, however much text dev has: an evaluated example costs a third of a trained one.
    """
    settings = recipe.trainer
    if settings.eval_batches is not None or not task.limits_evaluation:
        return settings.eval_batches
    every = settings.eval_every or -(-batches_per_epoch // settings.accumulate)
    trained = min(every, steps) * settings.accumulate  # micro-batches between two evaluations
    return max(1, int(SHARE * trained / (FORWARD_SHARE * BATCH_FACTOR)))
