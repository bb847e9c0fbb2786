"""What is seen of a training while it goes: the progress bar and the records of loss, rate, speed and memory."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from app.data.batch import Batch
from app.errors import Problem, RunError
from app.finetune.distributed import processes
from app.finetune.engine.module import FineTuning

COUNTED = ("examples", "useful", "padded", "flops", "seconds", "totals", "total_seconds")


class Watch(Callback):
    """Counts what goes through each step; every `every` steps writes a record and refreshes the bar.

    Speeds are over the time of training, from one record to the next, waiting for data included; evaluation and
    checkpoints are not in them.
    """

    def __init__(self, unit: str, steps: int, every: int, peak_flops: float | None = None) -> None:
        self.unit, self.steps, self.every, self.peak_flops = unit, steps, every, peak_flops
        self.examples = self.useful = self.padded = 0
        self.flops = self.seconds = 0.0
        self.totals = {"examples": 0, "useful": 0, "padded": 0}
        self.total_seconds = 0.0
        self.mark = 0.0
        self.last_step = 0
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.last_step = trainer.global_step
        if trainer.is_global_zero:
            self.bar = tqdm(
                total=self.steps,
                initial=trainer.global_step,
                desc="train",
                unit="step",
                dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 10.0,  # a log file wants few lines
            )
        self.mark = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, FineTuning)
        self.examples += len(batch)
        self.useful += batch.useful
        self.padded += batch.padded
        if self.peak_flops:
            self.flops += pl_module.task.flops(pl_module.model, batch)
        if trainer.global_step == self.last_step:  # a micro-batch within an accumulation
            return
        self.last_step = trainer.global_step
        if self.bar:
            self.bar.update()
        if trainer.global_step % self.every == 0 or trainer.global_step == self.steps:
            self._pass_time()
            self._record(trainer, pl_module)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The time of the block is not that of training."""
        self._pass_time()
        try:
            yield
        finally:
            self.mark = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FineTuning) and pl_module.scores is not None
        epochs = (trainer.fit_loop.total_batch_idx + 1) / trainer.num_training_batches
        values = {f"dev/{name}": value for name, value in pl_module.scores.values.items()}
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": round(epochs, 4)}, trainer.global_step)
        if self.bar:
            text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            self.bar.write(f"step {trainer.global_step}: {text}", file=sys.stderr)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.bar:
            self.bar.close()

    def counted(self) -> dict[str, Any]:
        """What was counted so far; `Keep` has it in the checkpoint."""
        return {name: getattr(self, name) for name in COUNTED}

    def count_on(self, counted: dict[str, Any]) -> None:
        """Go on from what was counted when a checkpoint was written."""
        for name in COUNTED:
            setattr(self, name, counted[name])

    def speeds(self) -> dict[str, float]:
        """Over the whole training: examples, useful and padded tokens a second of training time."""
        seconds = max(self.total_seconds, 1e-9)
        names = {"examples": f"{self.unit}/s", "useful": "tokens/s", "padded": "padded_tokens/s"}
        return {name: self.totals[key] / seconds for key, name in names.items()}

    def _pass_time(self) -> None:
        """Count what has passed since the mark, once the GPU has done what it was given: it runs behind Python."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self.mark
        self.mark = now

    def _record(self, trainer: pl.Trainer, module: FineTuning) -> None:
        loss, rate = module.take_loss(), trainer.optimizers[0].param_groups[0]["lr"]
        counted = processes.summed(self.examples, self.useful, self.padded, self.flops)
        self.examples, self.useful, self.padded, self.flops = (*map(int, counted[:3]), counted[3])
        record = {
            "train/loss": loss,
            "lr": rate,
            f"{self.unit}/s": self.examples / self.seconds,
            "tokens/s": self.useful / self.seconds,
            "padded_tokens/s": self.padded / self.seconds,
        }
        if module.device.type == "cuda":
            record["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if self.peak_flops:
            record["mfu"] = self.flops / self.seconds / self.peak_flops / trainer.world_size
        for logger in trainer.loggers:
            logger.log_metrics(record, trainer.global_step)
        if self.bar:
            self.bar.set_postfix_str(
                f"loss {loss:.4f}, lr {rate:.1e}, {self.examples / self.seconds:.0f} {self.unit}/s", refresh=False
            )
        if math.isnan(loss) and any(bool(p.isnan().any()) for p in module.model.parameters()):
            what = f"the loss is nan at step {trainer.global_step}, and so are weights: nothing is learned from here on"
            raise RunError(Problem(what, f"lower optimizer.lr, which is {module.recipe.optimizer.lr:g}"))
        self.totals = {key: total + getattr(self, key) for key, total in self.totals.items()}
        self.total_seconds += self.seconds
        self.examples = self.useful = self.padded = 0
        self.flops = self.seconds = 0.0
