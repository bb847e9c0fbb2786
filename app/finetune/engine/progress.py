"""The progress of a training: a bar, and records of loss, learning rate, speed and memory every few steps."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from app.data.batch import Batch
from app.errors import Problem, RunError
from app.finetune.distributed import processes
from app.finetune.tasks.base import Scores
from app.runs.records import Recorder

if TYPE_CHECKING:
    from app.finetune.engine.loop import TrainingStep

COUNTERS = ("examples", "useful", "padded", "flops", "seconds", "totals", "total_seconds")
GIB = 2**30


class Progress:
    """Counts what goes through the steps; every `every` steps writes a record and refreshes the bar.

    Speeds are over the training time from one record to the next, including the wait for data; evaluations and
    checkpoints are not in it.
    """

    def __init__(
        self, unit: str, steps: int, every: int, recorders: Sequence[Recorder], peak_flops: float | None = None
    ) -> None:
        """`unit`: what an example is called. `peak_flops`: the device's FLOP/s, for MFU; None if it is not known."""
        self.unit, self.steps, self.every = unit, steps, every
        self.recorders, self.peak_flops = recorders, peak_flops
        self.examples = self.useful = self.padded = 0
        self.flops = self.seconds = 0.0
        self.totals = {"examples": 0, "useful": 0, "padded": 0}
        self.total_seconds = 0.0
        self.mark = 0.0
        """`time.perf_counter` at the end of the time that is counted."""
        self.bar: tqdm[Any] | None = None

    @contextmanager
    def shown(self, step: int) -> Iterator[None]:
        """Show the bar for the length of a training that begins at `step`."""
        if processes.this_rank().is_zero:
            self.bar = tqdm(
                total=self.steps,
                initial=step,
                desc="train",
                unit="step",
                dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 10.0,  # a log file wants few lines
            )
        self.mark = time.perf_counter()
        try:
            yield
        finally:
            if self.bar is not None:
                self.bar.close()
            for recorder in self.recorders:
                recorder.close()

    def count(self, micro_batches: Sequence[Batch], step: TrainingStep) -> None:
        """Count an optimizer step that is done; write a record if one is due."""
        for batch in micro_batches:
            self.examples += len(batch)
            self.useful += batch.useful
            self.padded += batch.padded
            if self.peak_flops:
                self.flops += step.flops(batch)
        if self.bar is not None:
            self.bar.update()
        if step.number % self.every == 0 or step.number == self.steps:
            self._pass_time()
            self._record(step)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time of the block as training time."""
        self._pass_time()
        try:
            yield
        finally:
            self.mark = time.perf_counter()

    def evaluated(self, scores: Scores, step: int, epochs: float) -> None:
        """Record and show the scores on dev after `step` steps, which are `epochs` epochs."""
        values = {f"dev/{name}": value for name, value in scores.values.items()}
        self._write({**values, "epoch": round(epochs, 4)}, step)
        if self.bar is not None:
            text = "  ".join(f"{name} {value:.4f}" for name, value in values.items())
            self.bar.write(f"step {step}: {text}", file=sys.stderr)

    def counters(self) -> dict[str, Any]:
        """Return everything counted so far, for a checkpoint."""
        return {name: getattr(self, name) for name in COUNTERS}

    def continue_from(self, counters: dict[str, Any]) -> None:
        """Continue from the counters of a checkpoint."""
        for name in COUNTERS:
            setattr(self, name, counters[name])

    def recorded_bytes(self) -> int:
        """Return the size of metrics.jsonl; 0 if none is kept."""
        return max((recorder.size() for recorder in self.recorders), default=0)

    def flush(self) -> None:
        """Wait until the records are on the disk."""
        for recorder in self.recorders:
            recorder.flush()

    def speeds(self) -> dict[str, float]:
        """Return examples, useful and padded tokens per second of training time, over the whole training."""
        seconds = max(self.total_seconds, 1e-9)
        names = {"examples": f"{self.unit}/s", "useful": "tokens/s", "padded": "padded_tokens/s"}
        return {name: self.totals[key] / seconds for key, name in names.items()}

    def _pass_time(self) -> None:
        """Add the time since the mark. CUDA runs asynchronously, so the device is waited for first."""
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds += now - self.mark
        self.mark = now

    def _record(self, step: TrainingStep) -> None:
        loss = step.mean_loss()
        counted = processes.all_reduce_sum(self.examples, self.useful, self.padded, self.flops)
        self.examples, self.useful, self.padded, self.flops = (*map(int, counted[:3]), counted[3])
        record = {
            "train/loss": loss,
            "lr": step.optimizer.param_groups[0]["lr"],
            f"{self.unit}/s": self.examples / self.seconds,
            "tokens/s": self.useful / self.seconds,
            "padded_tokens/s": self.padded / self.seconds,
        }
        if step.fabric.device.type == "cuda":
            record["memory_gib"] = torch.cuda.max_memory_allocated() / GIB
        if self.peak_flops:
            record["mfu"] = self.flops / self.seconds / self.peak_flops / step.fabric.world_size
        self._write(record, step.number)
        if self.bar is not None:
            speed = f"{self.examples / self.seconds:.0f} {self.unit}/s"
            self.bar.set_postfix_str(f"loss {loss:.4f}, lr {record['lr']:.1e}, {speed}", refresh=False)
        if math.isnan(loss) and any(bool(p.isnan().any()) for p in step.model.parameters()):
            what = f"the loss is nan at step {step.number}, and so are weights: training learns nothing from here on"
            raise RunError(Problem(what, f"lower optimizer.lr, which is {step.recipe.optimizer.lr:g}"))
        self.totals = {key: total + getattr(self, key) for key, total in self.totals.items()}
        self.total_seconds += self.seconds
        self.examples = self.useful = self.padded = 0
        self.flops = self.seconds = 0.0

    def _write(self, values: dict[str, float], step: int) -> None:
        for recorder in self.recorders:
            recorder.record(values, step)
