"""A recipe's training step, ready to be timed: the training loop's own step, and its loss for the correctness gate."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from app.data.batch import Batch
from app.finetune.engine.precision import accelerator_of
from app.finetune.session import Session
from app.schema import Recipe


class PreparedStep:
    """The training step of one session. Sessions of other precisions may take turns with it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.training_step = session.step

    def step(self, micro_batches: Sequence[Batch]) -> None:
        """Make one optimizer step over the micro-batches of an accumulation, which are on the host."""
        self.session.precision.apply()  # TF32 is a setting of the process, and other sessions change it
        self.training_step(micro_batches)

    def loss(self, micro_batches: Sequence[Batch]) -> float:
        """Return the mean loss of the model as it is, without dropout or a step: nearly the same in every precision.

        Gradients stay on, so that torch.compile builds the graph that trains. `eval` turns dropout off: the compiler
        guards on the mode, and not on the rate.
        """
        self.session.precision.apply()
        step = self.training_step
        step.module.eval()
        total, weight = 0.0, 0
        with torch.enable_grad(), step.fabric.autocast():
            for batch in micro_batches:
                total += float(step.task.loss(step.forward, batch.to(step.fabric.device)).detach())
                weight += step.task.weight(batch)
        step.training_mode()
        return total / weight


def device_of(recipe: Recipe) -> torch.device:
    """Return where a recipe trains: a shipped one may say cpu on a machine with a GPU. Raises ConfigError."""
    return torch.device("cuda", 0) if accelerator_of(recipe) == "cuda" else torch.device("cpu")


def typical(batches: Sequence[Batch], count: int) -> list[Batch]:
    """Return `count` batches around the median padded size, so that one step stands for those of the epoch."""
    ordered = sorted(batches, key=lambda batch: batch.padded)
    start = max(0, (len(ordered) - count) // 2)
    return ordered[start : start + count]
