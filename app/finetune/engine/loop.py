"""The training loop, top to bottom: how every model in this project is trained.

    epoch                                    one pass over the training data, in a seeded order
      micro-batches                          `trainer.accumulate` of them make one optimizer step
        forward, backward                    gradients add up
      clip, update, next learning rate
      evaluate on dev, save a checkpoint     when they are due; stop when a signal came or dev stopped improving

One optimizer step follows the gradient of

    sum of the losses of its micro-batches, on every process  /  sum of their weights

with the weight of a batch being the examples or tokens that its loss sums over (`Task.weight`). So N micro-batches of B
examples learn what one batch of N x B learns, however unevenly they are filled, on one device or on many.

Lightning Fabric places the model on its devices, wraps it for DDP or FSDP, and applies the precision. `app bench` times
`TrainingStep`, so there is no second step to keep in line with this one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from app.data.batch import Batch
from app.data.batching import BatchSampler
from app.errors import Problem, RunError
from app.finetune.distributed import processes
from app.finetune.engine import rng
from app.finetune.engine.checkpointing import Best, Checkpointer, Position, Snapshot
from app.finetune.engine.evaluation import evaluate
from app.finetune.engine.fabric import wrap
from app.finetune.engine.optimizers import build_optimizer, clip_gradients, learning_rate_factor, matrix_names
from app.finetune.engine.progress import Progress
from app.finetune.tasks.base import FlopCounter, Forward, Task
from app.models.adapters import Unfreezing
from app.schema import Recipe
from app.signals import STOP, Stopped


class TrainingStep:
    """One optimizer step: forward and backward over its micro-batches, clip, update, next learning rate."""

    def __init__(
        self, fabric: Fabric, task: Task[Any], model: nn.Module, recipe: Recipe, steps: int, forward: Forward | None
    ) -> None:
        """`steps`: optimizer steps of the whole training, for the schedule. `forward`: the model's compiled form."""
        self.fabric, self.task, self.model, self.recipe = fabric, task, model, recipe
        self.forward: Forward = forward or model
        self.norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        self.frozen_norms = [m for m in self.norms if not any(p.requires_grad for p in m.parameters())]
        freeze = recipe.freeze
        self.unfreezing = Unfreezing(model, freeze.gradual) if freeze.gradual else None
        matrices = matrix_names(model)  # before FSDP makes every parameter one-dimensional
        self.flops = FlopCounter(task, model)
        self.module = wrap(fabric, model)
        self.optimizer = build_optimizer(model, recipe.optimizer, matrices)
        self.rates = learning_rate_factor(recipe.schedule, steps)
        self.number = 0
        """Optimizer steps done."""
        self.loss_sum = torch.zeros((), device=fabric.device)
        self.loss_weight = 0.0
        """Loss and weight on this process since `mean_loss` was last called."""
        self.training_mode()

    def __call__(self, micro_batches: Sequence[Batch]) -> None:
        """Make one optimizer step. `micro_batches` are on the host."""
        self.backward(micro_batches)
        self.update()

    def training_mode(self) -> None:
        """Put the model into training mode: dropout draws, also in frozen layers, as in other trainers.

        A frozen batch norm stays in evaluation mode: its running statistics belong to the weights that are frozen.
        """
        self.module.train()
        for norm in self.frozen_norms:
            norm.eval()

    def backward(self, micro_batches: Sequence[Batch]) -> None:
        """Add up the gradients of the step's loss. No weight changes here, so this may be interrupted anywhere."""
        if self.unfreezing:
            self.unfreezing.apply(self.number)
        (weight,) = processes.all_reduce_sum(sum(self.task.weight(batch) for batch in micro_batches))
        scale = self.fabric.world_size / max(weight, 1.0)  # DDP and FSDP take the mean over the processes
        for number, batch in enumerate(micro_batches):
            gradients_wait = number + 1 < len(micro_batches) and self.fabric.world_size > 1
            with self.module.no_sync() if gradients_wait else nullcontext():
                with self.fabric.autocast():
                    loss: Tensor = self.module(self._loss, batch.to(self.fabric.device))  # (), a sum
                self.fabric.backward(loss * scale)
            self.loss_sum = self.loss_sum + loss.detach()  # a new tensor: snapshots keep the old one
            self.loss_weight += self.task.weight(batch)

    def update(self) -> None:
        """Clip the gradients, let the optimizer move the weights, and drop the gradients."""
        settings = self.recipe.trainer
        if settings.clip is not None:
            if scaler := getattr(self.fabric.strategy.precision, "scaler", None):
                scaler.unscale_(self.optimizer)  # fp16's gradients carry the loss scale; the norm must not
            gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
            clip_gradients(gradients, settings.clip, sharded=settings.strategy == "fsdp")
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.fabric.strategy.optimizer_step(self.optimizer)  # through fp16's loss scaler, if there is one
        self.optimizer.zero_grad(set_to_none=True)
        self.number += 1

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.recipe.optimizer.lr * self.rates(self.number)

    def mean_loss(self) -> float:
        """Mean training loss since the last call, over all processes. Waits for the device, so not every step."""
        total, weight = processes.all_reduce_sum(float(self.loss_sum), self.loss_weight)
        self.loss_sum, self.loss_weight = torch.zeros_like(self.loss_sum), 0.0
        return total / weight if weight else float("nan")

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The summed loss of a batch; 0, with a gradient of 0 for each weight, if other processes have all of it."""
        if len(batch):
            return self.task.loss(self.forward, batch)
        nothing: Tensor = torch.stack([p.sum() * 0.0 for p in model.parameters() if p.requires_grad]).sum()
        return nothing


class TrainingLoop:
    """One training of `steps` optimizer steps. Without a checkpointer nothing is evaluated and nothing is kept."""

    def __init__(
        self,
        step: TrainingStep,
        train_loader: DataLoader[Batch],
        dev_loader: DataLoader[Batch],
        steps: int,
        progress: Progress,
        checkpointer: Checkpointer | None,
    ) -> None:
        self.step, self.train_loader, self.dev_loader, self.steps = step, train_loader, dev_loader, steps
        self.progress, self.checkpointer = progress, checkpointer
        self.settings = step.recipe.trainer
        self.best = Best()
        self.position = Position()
        self.snapshot: Snapshot | None = None

    @property
    def done(self) -> bool:
        """Whether the last step is made, or dev has not improved for `trainer.patience` evaluations."""
        patience = self.settings.patience
        return self.position.step >= self.steps or (patience is not None and self.best.evaluations_since >= patience)

    def run(self, resume_from: Path | None = None) -> None:
        """Train from the beginning, or continue from a checkpoint to the same bits as without the interruption.

        Raises Stopped, after writing a checkpoint, when a signal asks the process to end.
        """
        if resume_from:
            self.restore(resume_from)
        many = self.step.fabric.world_size > 1  # they must stop together, so a signal waits for `stop_if_asked`
        with STOP.holding() if many else nullcontext(), self.progress.shown(self.position.step):
            try:
                self.snapshot = self.take_snapshot()
                if self.position.evaluation_due:  # it was interrupted
                    self.evaluate()
                while not self.done:
                    self.epoch()
            except Stopped as stopped:
                STOP.hold()  # for good: this process is ending
                self.save_on_stop(stopped)
                raise

    def epoch(self) -> None:
        """Train to the end of this epoch, or of the training."""
        sampler, accumulate = self.train_loader.sampler, self.settings.accumulate
        assert isinstance(sampler, BatchSampler)
        sampler.begin(self.position.epoch, self.position.batch)
        loader = iter(self.train_loader)
        while micro_batches := list(islice(loader, accumulate)):  # an epoch's last step may have fewer
            self.step.backward(micro_batches)
            with STOP.holding():  # weights, counters and position change together; a signal waits for the end of this
                self.step.update()
                self.progress.count(micro_batches, self.step)
                self.position = self.next_position(len(micro_batches))
                self.snapshot = self.take_snapshot()
            self.stop_if_asked()
            evaluation_due = self.position.evaluation_due
            if evaluation_due:
                self.evaluate()
            if self.checkpoint_due(evaluation_due):
                self.save()
            if self.done or self.position.batch == 0:
                return

    def next_position(self, micro_batches: int) -> Position:
        """The position after a step over `micro_batches` more batches of this epoch."""
        here, every = self.position, self.settings.eval_every
        step, batch = here.step + 1, here.batch + micro_batches
        epoch_ends = batch >= len(self.train_loader)
        due = step % every == 0 if every else epoch_ends
        return Position(
            epoch=here.epoch + epoch_ends,
            batch=0 if epoch_ends else batch,
            step=step,
            evaluation_due=self.checkpointer is not None and (due or step >= self.steps),
        )

    def checkpoint_due(self, evaluated: bool) -> bool:
        """Whether a checkpoint is due: at `checkpoint_every`, else after each evaluation; and always at the end."""
        every = self.settings.checkpoint_every
        return self.done or (self.position.step % every == 0 if every else evaluated)

    def evaluate(self) -> None:
        """Score dev, and keep the weights if they are the best so far. Moves no generator and no weight."""
        assert self.checkpointer is not None
        step, task = self.step, self.step.task
        with self.progress.paused():
            found = evaluate(step.fabric, step.module, task, self.dev_loader, self.stop_if_asked)
            step.training_mode()
            with STOP.holding():  # what is recorded, what is best and the position change together
                epochs = self.position.epoch + self.position.batch / len(self.train_loader)
                self.progress.evaluated(found.scores, self.position.step, epochs)
                self.best = self.best.updated(found.scores, self.position.step, task.monitor, task.higher_is_better)
                if self.best.step == self.position.step:
                    self.checkpointer.save_best(step, self.best)
                self.position = replace(self.position, evaluation_due=False)
                self.snapshot = self.take_snapshot()

    def stop_if_asked(self) -> None:
        """Raise Stopped if a signal came; with many processes in all of them, if one of them got it."""
        if self.step.fabric.world_size == 1:
            STOP.check()
        elif signum := int(processes.all_reduce_max(STOP.signum)):
            raise Stopped(signum)

    def take_snapshot(self) -> Snapshot:
        """What a checkpoint of this moment needs beyond weights and optimizer, which change only in `update`."""
        return Snapshot(
            position=self.position,
            best=self.best,
            random=rng.capture(),
            loss=(self.step.loss_sum, self.step.loss_weight),
            counters=self.progress.counters(),
            records=self.progress.recorded_bytes(),
            statistics=[buffer.clone() for norm in self.step.norms for buffer in norm.buffers(recurse=False)],
        )

    def save(self) -> None:
        """Write a checkpoint of the snapshot, once for each step."""
        assert self.snapshot is not None
        if self.checkpointer:
            with STOP.holding(), self.progress.paused():
                self.progress.flush()  # records are on the disk before the checkpoint that counts their bytes
                self.checkpointer.save(self.step, self.snapshot)

    def save_on_stop(self, stopped: Stopped) -> None:
        """Write a last checkpoint and print how to continue from it."""
        if self.checkpointer is None or self.snapshot is None:
            return
        self.save()
        if self.step.fabric.is_global_zero:
            print(
                f"\nstopped by {stopped} at step {self.snapshot.position.step}; "
                f"`app train --resume {self.checkpointer.run.path}` continues from there",
                file=sys.stderr,
            )

    def restore(self, checkpoint: Path) -> None:
        """Put everything back to where a checkpoint was written. Raises RunError for another number of processes."""
        assert self.checkpointer is not None
        snapshots = self.checkpointer.load(checkpoint, self.step)
        if len(snapshots) != self.step.fabric.world_size:
            what = f"the checkpoint was written by {len(snapshots)} processes, these are {self.step.fabric.world_size}"
            raise RunError(Problem(what, "resume with as many devices as before", str(self.checkpointer.run.path)))
        here = snapshots[self.step.fabric.global_rank]
        self.position, self.best, self.step.number = here.position, here.best, here.position.step
        self.step.loss_sum, self.step.loss_weight = here.loss[0].to(self.step.fabric.device), here.loss[1]
        self.progress.continue_from(here.counters)
        rng.restore(here.random)
