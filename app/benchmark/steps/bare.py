"""A session's training step in a loop written by hand: the same model, loss, precision and optimizer, without Trainer.

It is what the grid of training steps is timed with, and what Lightning's own cost is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from app.data.batch import Batch
from app.finetune.session import Session, accelerator_of
from app.schema import Recipe


class BareLoop:
    """One session, ready to step."""

    def __init__(self, session: Session, device: torch.device, optimizer: Any, schedule: Any) -> None:
        self.session, self.device, self.module = session, device, session.module
        self.optimizer, self.schedule = optimizer, schedule
        plugin: Any = session.trainer.precision_plugin
        self.autocast = plugin.train_step_context
        self.scaler = getattr(plugin, "scaler", None)  # of fp16 alone

    @classmethod
    def alone(cls, session: Session, device: torch.device) -> BareLoop:
        """A loop over a session that no Trainer drives, with an optimizer of its own."""
        trainer: Any = session.trainer
        module: Any = session.module.to(device).train()
        trainer.strategy.connect(module)  # what `fit` does first; the module asks its trainer for the world's size
        module.trainer = trainer
        configured = module.configure_optimizers()
        return cls(session, device, configured["optimizer"], configured["lr_scheduler"]["scheduler"])

    def step(self, batches: Sequence[Batch]) -> None:
        """One optimizer step over `batches`, the micro-batches of an accumulation, which lie on the host."""
        self.session.precision.apply()  # it is the process's, and sessions of other precisions take turns with this one
        for number, batch in enumerate(batches):
            with self.autocast():
                loss = self.module.training_step(batch.to(self.device, non_blocking=True), number)
            part = torch.div(loss, self.session.recipe.trainer.accumulate)  # as Trainer does; the module counts on it
            (self.scaler.scale(part) if self.scaler else part).backward()
        if self.scaler and not getattr(self.optimizer, "_step_supports_amp_scaling", False):
            self.scaler.unscale_(self.optimizer)  # of a fused optimizer the module's hook does it, and twice is refused
        self.module.on_before_optimizer_step(self.optimizer)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()

    def loss(self, batches: Sequence[Batch]) -> float:
        """Mean loss of the model as it is, without dropout and without a step: the same in every precision, nearly.

        With gradients, for that is what the compiler makes a step's graph from; what it makes without them is never
        trained with. Dropout goes by `eval`, which it compiles for apart: a rate that changes it would not notice.
        """
        self.session.precision.apply()
        self.module.eval()
        total, weight = torch.zeros((), device=self.device), 0.0
        with torch.enable_grad(), self.autocast():
            for batch in batches:
                loss = self.session.task.loss(self.module.forward_model, batch.to(self.device))
                total, weight = total + loss.total.detach(), weight + loss.weight
        self.module.train()
        return float(total) / weight


def device_of(recipe: Recipe) -> torch.device:
    """Where the recipe trains: a shipped one may say cpu on a machine with a GPU. Raises ConfigError."""
    return torch.device("cuda", 0) if accelerator_of(recipe) == "cuda" else torch.device("cpu")


def typical(batches: Sequence[Batch], count: int) -> list[Batch]:
    """`count` batches around the median of their padded size, so that one step stands for the epoch's."""
    ordered = sorted(batches, key=lambda batch: batch.padded)
    start = max(0, (len(ordered) - count) // 2)
    return ordered[start : start + count]
