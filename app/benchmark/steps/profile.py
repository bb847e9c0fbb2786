"""What the diagnosis of a step is computed from: its work, the machine's limits, and the host's and the data's time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app.benchmark.limits import Limits
from app.benchmark.results import Kernel, TrainingStep
from app.benchmark.steps.grid import GridPoint, synchronize
from app.benchmark.steps.operator_counter import OperatorCounter
from app.benchmark.steps.prepared import typical
from app.benchmark.timer import EnqueueClock, clock_for, measure
from app.data.batch import Batch


@dataclass(frozen=True)
class StepProfile:
    """What was measured of one step. All seconds are seconds a step."""

    step: TrainingStep
    useful_share: float
    """Useful tokens over padded ones, in (0, 1]."""
    product_flops: float
    """FLOPs of the products that the step really computes, padding included."""
    product_bytes: float
    """The products' share of the bytes in `step.work`."""
    matmul_rate: float
    """FLOP/s measured for this precision."""
    bandwidth: float
    """Bytes/s measured."""
    host_seconds: float | None
    """The host's time to dispatch the step. None if it cannot be separated from the step's work."""
    overlapped: bool
    """Whether the device works while the host dispatches, as a GPU does."""
    input_seconds: float
    """Wait for a batch that the previous step does not hide."""
    workers: int


def profile_step(
    point: GridPoint,
    step: TrainingStep,
    batches: Sequence[Batch],
    loading: Kernel,
    limits: Limits,
    counts: OperatorCounter,
) -> StepProfile | None:
    """Return the profile of a timed step; None if no matmul rate or no bandwidth was measured on its device.

    `batches`: a sample of the training batches; `counts`: of the eager step in the same precision.
    """
    matmul_rate, bandwidth = limits.measured_flops.get(point.precision), limits.measured_bandwidth
    if matmul_rate is None or bandwidth is None:
        return None
    settings = point.step.session.recipe.trainer
    micro = typical(batches, settings.accumulate)
    return StepProfile(
        step=step,
        useful_share=sum(batch.useful for batch in batches) / sum(batch.padded for batch in batches),
        product_flops=counts.flops,
        product_bytes=counts.product_bytes,
        matmul_rate=matmul_rate,
        bandwidth=bandwidth,
        host_seconds=host_seconds(point, micro, matmul_rate, bandwidth, limits.device),
        overlapped=limits.device.type == "cuda",
        input_seconds=input_wait(loading.work.seconds * settings.accumulate, step.work.seconds, settings.workers),
        workers=settings.workers,
    )


def host_seconds(
    point: GridPoint, micro: Sequence[Batch], matmul_rate: float, bandwidth: float, device: torch.device
) -> float | None:
    """Return the host's time for a step of any batch size: a step on one example, less its work at the limits.

    A compiled step would be compiled again for one example. On a GPU its time is what the host takes to enqueue it; on
    a CPU it cannot be separated from the work, and is None.
    """
    if point.compiled:
        if device.type != "cuda":
            return None
        clock = EnqueueClock(lambda: synchronize(device))
        return measure({"step": lambda: point.step.step(micro)}, clock, seconds=1.0)["step"].median
    session = point.step.session
    one = [session.splits.train[np.zeros(1, dtype=np.int64)]] * session.recipe.trainer.accumulate
    timing = measure({"one": lambda: point.step.step(one)}, clock_for(device), seconds=1.0)["one"]
    counts = count_operators(point, one)
    work = counts.flops / matmul_rate + (counts.bytes - counts.product_bytes) / bandwidth
    return max(0.0, timing.median - work)


def count_operators(point: GridPoint, micro: Sequence[Batch]) -> OperatorCounter:
    """Make one step and return its operators, bytes and FLOPs."""
    counter = OperatorCounter()
    with counter:
        point.step.step(micro)
    return counter


def input_wait(loading: float, step: float, workers: int) -> float:
    """Return the seconds that a step waits for its batch.

    `loading`: seconds between two batches with the workers that there are. Without workers the training process loads
    the batch itself and waits all of that time; with workers it waits for what the previous step did not hide.
    """
    return loading if workers == 0 else max(0.0, loading - step)
