"""Where a training stands between two optimizer steps, in our own words and in those of Lightning's loops.

Lightning's releases differ in what a checkpoint taken inside a hook means: some count the batch as done, some repeat
it, some run the evaluation again. So the counters are written into the checkpoint as at rest, which all read alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.runs import checkpoints

OURS = "workspace"  # our part of a checkpoint


@dataclass(frozen=True)
class Position:
    """A place between two optimizer steps."""

    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done; never all of them, that is batch 0 of the next epoch."""
    batches: int = 0
    """Batches done since the beginning."""
    step: int = 0
    """Optimizer steps done."""
    evaluation_due: bool = False
    """Whether dev is still to be evaluated here."""


def position_in(checkpoint: Path) -> Position:
    """Where a checkpoint stands."""
    return Position(**checkpoints.plain(checkpoint)[OURS]["position"])


def at_rest(loop: dict[str, Any], position: Position) -> dict[str, Any]:
    """The state of Lightning's fit loop as it is between two batches at `position`. `loop`: its state at any time."""
    epoch, steps = position.epoch, position.step
    begun = epoch + (position.batch > 0)
    progress = {
        "epoch_progress": {"ready": begun, "started": begun, "processed": epoch, "completed": epoch},
        "epoch_loop.batch_progress": position.batches,
        "epoch_loop.scheduler_progress": steps,
        "epoch_loop.val_loop.batch_progress": 0,
    }
    found = dict(loop)
    for name, count in progress.items():
        found[name] = _counted(loop[name], count)
    found["epoch_loop.batch_progress"]["current"] = _filled(
        loop["epoch_loop.batch_progress"]["current"], position.batch
    )
    optimizer = "epoch_loop.automatic_optimization.optim_progress"
    parts = {name: _counted(part, steps) for name, part in loop[optimizer]["optimizer"].items()}
    found[optimizer] = {**loop[optimizer], "optimizer": parts}
    found["epoch_loop.state_dict"] = {**loop["epoch_loop.state_dict"], "_batches_that_stepped": steps}
    return found


def _counted(progress: dict[str, Any], count: Any) -> dict[str, Any]:
    """A progress with both its counters at `count`: that of the epoch is only read for epochs and batches."""
    counters = {name: _filled(progress[name], count) for name in ("total", "current")}
    return {**progress, **counters, **({"is_last_batch": False} if "is_last_batch" in progress else {})}


def _filled(counter: dict[str, int], count: Any) -> dict[str, int]:
    return {name: count[name] if isinstance(count, dict) else count for name in counter}
