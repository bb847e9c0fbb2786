"""The one LightningModule: it joins a task and a model, and holds the arithmetic of a step.

The gradient of an optimizer step is that of (sum of the losses of its micro-batches, on every device) / (sum of their
weights).
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from app.data.batch import Batch
from app.data.batching import ShardedDataset
from app.finetune.distributed import processes
from app.finetune.engine.optimizers import build_optimizer, build_schedule, clip_gradients, matrix_names
from app.finetune.tasks.base import Forward, Judged, Loss, Scores, Task
from app.models.adapters import Unfreezing
from app.schema import Recipe


class FineTuning(pl.LightningModule):
    """A task's loss as Lightning's training step, and its judgements as Lightning's evaluation."""

    def __init__(self, task: Task[Any], model: nn.Module, recipe: Recipe, steps: int) -> None:
        """`steps`: optimizer steps of the whole training, for the schedule."""
        super().__init__()
        self.task, self.model, self.recipe, self.steps = task, model, recipe, steps
        self.matrices = matrix_names(model)
        self.compiled: list[Forward] = []  # in a list, or nn.Module would register it and prefix every key
        gradual = recipe.freeze.gradual
        self.unfreezing = Unfreezing(model, gradual) if gradual else None
        self.judged: list[Judged] = []
        self.scores: Scores | None = None
        self.weight = 0.0  # of the micro-batches since the last optimizer step, on every device
        self.first_weight = 1.0
        self.loss_sum = torch.zeros(())
        self.loss_weight = 0.0

    @property
    def forward_model(self) -> Forward:
        return self.compiled[0] if self.compiled else self.model

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of a micro-batch, scaled so that `on_before_optimizer_step` finds the gradient of the mean.

        The weights of the coming micro-batches are not known yet, so each is divided by that of the first, and the
        sum of their gradients is corrected once, before the step. Lightning divides by `accumulate` and, on many
        devices, by their number; both are taken back here.
        """
        loss = self.task.loss(self.forward_model, batch) if len(batch) else self._no_loss()
        (weight,) = processes.summed(loss.weight)
        if self.weight == 0.0:
            self.first_weight = weight
        self.weight += weight
        self.loss_sum = self.loss_sum.to(loss.total.device) + loss.total.detach()
        self.loss_weight += loss.weight
        scaled: Tensor = loss.total * (self.recipe.trainer.accumulate * self.trainer.world_size / self.first_weight)
        return scaled

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide by the weight of all micro-batches, then clip.

        A fused optimizer would take the factor of fp16's GradScaler out of the gradients itself, in its step; the norm
        is to be that of the gradients as they are, so it is taken out here.
        """
        scaler: Any = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.weight != self.first_weight:
            torch._foreach_mul_(gradients, self.first_weight / self.weight)
        self.weight = 0.0
        if self.recipe.trainer.clip is not None:  # here, because Lightning refuses to clip for a fused optimizer
            clip_gradients(gradients, self.recipe.trainer.clip, self.recipe.trainer.strategy == "fsdp")

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.recipe.optimizer, self.matrices)
        schedule = build_schedule(optimizer, self.recipe.schedule, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        loader: Any = self.trainer.train_dataloader
        loader.sampler.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.unfreezing:
            self.unfreezing.apply(self.trainer.global_step)

    def on_validation_epoch_start(self) -> None:
        self.judged = []

    def validation_step(self, batch: Batch, _: int) -> None:
        if len(batch):
            self.judged += self.task.judge(self.model, batch)

    def on_validation_epoch_end(self) -> None:
        self._score(self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        self.judged = []

    def test_step(self, batch: Batch, _: int) -> None:
        self.validation_step(batch, _)

    def on_test_epoch_end(self) -> None:
        self._score(self.trainer.test_dataloaders)

    def predict_step(self, batch: Batch, _: int) -> None:
        self.validation_step(batch, _)

    def take_loss(self) -> float:
        """Mean training loss since the last call, over all processes; waits for the device, so not every step."""
        total, weight = processes.summed(float(self.loss_sum), self.loss_weight)
        mean = total / weight if weight else float("nan")
        self.loss_sum, self.loss_weight = torch.zeros(()), 0.0
        return mean

    def _no_loss(self) -> Loss:
        """For a batch whose examples are all with other processes, which wait for this one's gradients."""
        return Loss(sum(p.sum() for p in self.model.parameters() if p.requires_grad) * torch.zeros(()), 0)

    def _score(self, loader: Any) -> None:
        """Score what all processes judged, over the data that they share."""
        self.judged, data = self._everyones(), loader.dataset
        self.scores = self.task.score(self.judged, data.data if isinstance(data, ShardedDataset) else data)

    def _everyones(self) -> list[Judged]:
        """The judgements of every process, each example once, in the order of the data."""
        unique = {judged.index: judged for part in processes.gathered(self.judged) for judged in part}
        return [unique[index] for index in sorted(unique)]
