"""What Lightning's Trainer adds to a step, measured inside its own loop.

Blocks of the Trainer's steps alternate with blocks of the same step in a bare loop, on the same model, optimizer and
batches, so that whatever else happens to the machine happens to both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from app.benchmark.figure import Limit, Work, duration
from app.benchmark.results import Kernel
from app.benchmark.steps.bare import BareLoop
from app.benchmark.timer import percentile, summarize
from app.data.batch import Batch
from app.finetune.session import Session

# So that the time ends it, and neither the recipe's epochs nor its steps.
WITHOUT_END = ("trainer.max_epochs=1000000", "trainer.max_steps=null")
BLOCK = 5  # steps of one kind in a row; the first of each meets the other's leavings in the caches and is not counted


class Alternate(Callback):
    """After every `BLOCK` steps of the Trainer runs as many bare ones; ends the training after `seconds`.

    `lightning` and `bare` hold the median of each block, in seconds a step, loading included.
    """

    def __init__(self, session: Session, device: torch.device, seconds: float) -> None:
        self.session, self.device, self.seconds = session, device, seconds
        self.lightning: list[float] = []
        self.bare: list[float] = []
        self.block: list[float] = []
        self.loop: BareLoop | None = None
        self.feed: Iterator[Batch] = iter(())
        self.start = self.mark = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        schedule = trainer.lr_scheduler_configs[0].scheduler
        self.loop = BareLoop(self.session, self.device, trainer.optimizers[0], schedule)
        self.feed = chain.from_iterable(repeat(self.session.train_loader))
        self.start = time.monotonic()
        self.mark = self._now()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % self.session.recipe.trainer.accumulate:
            return
        self.block.append(self._now() - self.mark)
        if len(self.block) == BLOCK:
            self.lightning.append(percentile(self.block[1:], 0.5))
            self.bare.append(percentile([self._bare_step() for _ in range(BLOCK)][1:], 0.5))
            self.block = []
            trainer.should_stop = time.monotonic() - self.start > self.seconds
        self.mark = self._now()

    def _bare_step(self) -> float:
        assert self.loop is not None
        start = self._now()
        self.loop.step([next(self.feed) for _ in range(self.session.recipe.trainer.accumulate)])
        return self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def lightning_overhead(session: Session, device: torch.device, seconds: float) -> Kernel:
    """Milliseconds a step in the Trainer, in a bare loop, and the difference of neighbouring blocks.

    The package's own bar and records are off: this is Lightning's part alone. The session's recipe is `WITHOUT_END`.
    """
    alternate = Alternate(session, device, seconds)
    trainer: Any = session.trainer
    trainer.callbacks = [alternate]
    trainer.fit(session.module, session.train_loader)
    bare, ours = summarize(alternate.bare), summarize(alternate.lightning)
    added = summarize([there - here for there, here in zip(alternate.lightning, alternate.bare)])
    whole = duration(ours, Limit(bare.median * 1e3, "the bare loop"))
    none = Limit(None, "the bare loop beside it is what it is set against")
    return Kernel(
        name=f"trainer {session.recipe.name}",
        group="trainer",
        precision=session.precision.word,
        shape=f"median of blocks of {BLOCK} steps, loading included",
        figures={
            "Lightning": whole,
            "bare loop": duration(bare, none),
            "Lightning's own": duration(added, Limit(0.0, "a Trainer that costs nothing")),
        },
        work=Work(whole),
    )
