"""What the training loop adds to its step: loading, counting, records and snapshots, measured in a real training.

Each call of the step is timed inside the running loop. The time from one call's start to the next is the loop's; the
difference is the loop's own. Both come from the same steps, so whatever else happens to the machine happens to both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import torch

from app.benchmark.figure import Limit, Work, duration
from app.benchmark.results import Kernel
from app.benchmark.timer import summarize
from app.data.batch import Batch
from app.finetune.engine.loop import TrainingLoop
from app.finetune.session import Session

# So that the time ends it, and neither the recipe's epochs nor its steps.
WITHOUT_END = ("trainer.max_epochs=1000000", "trainer.max_steps=null")
WARM_UP = 5  # steps that are not counted: allocations, the first touch of each page, the compiler


class TimeIsUpError(Exception):
    """Ends the training that is measured."""


class TimedStep:
    """A training step that records when each call begins and ends."""

    def __init__(self, session: Session, seconds: float) -> None:
        self.step, self.device, self.seconds = session.step, session.fabric.device, seconds
        self.begun: list[float] = []
        self.ended: list[float] = []

    def backward(self, micro_batches: Sequence[Batch]) -> None:
        """Do as `TrainingStep.backward`. Raises TimeIsUpError once the seconds have passed."""
        self.begun.append(self._now())
        if self.begun[-1] - self.begun[0] > self.seconds and len(self.ended) > 2 * WARM_UP:
            raise TimeIsUpError
        self.step.backward(micro_batches)

    def update(self) -> None:
        """Do as `TrainingStep.update`."""
        self.step.update()
        self.ended.append(self._now())

    def __getattr__(self, name: str) -> object:
        return getattr(self.step, name)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def loop_overhead(session: Session, seconds: float) -> Kernel:
    """Return milliseconds a step in the training loop, of the step alone, and their difference.

    The session's recipe has `WITHOUT_END`. It has no run, so neither evaluations nor checkpoints are part of the time.
    """
    timed = TimedStep(session, seconds)
    step: Any = timed
    loop = TrainingLoop(step, session.train_loader, session.dev_loader, session.steps, session.progress, None)
    with suppress(TimeIsUpError):
        loop.run()
    whole = [later - earlier for earlier, later in pairwise(timed.begun)][WARM_UP:]
    alone = [end - begin for begin, end in zip(timed.begun, timed.ended)][WARM_UP:]
    in_loop, in_step = summarize(whole), summarize(alone)
    own = summarize([total - part for total, part in zip(whole, alone)])
    figure = duration(in_loop, Limit(in_step.median * 1e3, "the step alone"))
    return Kernel(
        name=f"loop {session.recipe.name}",
        group="loop",
        precision=session.precision.word,
        shape="loading, counting and records included",
        figures={
            "in the loop": figure,
            "step alone": duration(in_step, Limit(None, "compared with the loop around it")),
            "the loop's own": duration(own, Limit(0.0, "a loop that costs nothing")),
        },
        work=Work(figure),
    )
