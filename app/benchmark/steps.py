"""A recipe's own training step, timed in every precision, eager and compiled, behind a correctness gate.

One step is one optimizer step on the batch of median size, the same for every setting; loading is timed apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from app.benchmark.bare import typical
from app.benchmark.budget import Budget
from app.benchmark.cells import Cell, Setting, build_cells
from app.benchmark.diagnose import Findings, diagnose
from app.benchmark.limits import Limits
from app.benchmark.results import Diagnosis, Kernel, Limit, Step, rate
from app.benchmark.step_figures import compile_figures, step_figures
from app.benchmark.timer import Timing, clock_for, measure, summarize
from app.benchmark.traffic import Traffic
from app.config import load
from app.data.batch import Batch
from app.finetune.session import Session, prepare

LOOKED_AT = 40  # batches of which the median one is taken, and over which padding and loading are measured


@dataclass(frozen=True)
class Measured:
    """What was found of one recipe."""

    steps: list[Step]
    loading: Kernel
    diagnosis: Diagnosis | None


def measure_recipe(
    name: str, overrides: Sequence[str], device: torch.device, limits: Limits, budget: Budget
) -> Measured:
    """Time a recipe's step in every setting that fits into the budget. Raises WorkspaceError for a bad recipe."""
    recipe = load(name, overrides)
    session = prepare(recipe)
    loading, batches = load_batches(session, 0.1 * budget.left)
    micro = typical(batches, recipe.trainer.accumulate)
    own: Setting = (session.precision.word, recipe.trainer.compile)
    cells = build_cells(session, (name, overrides), micro, own, device, budget)
    if not cells:
        return Measured([], loading, None)
    timings = time_cells(cells, micro, device, 0.7 * budget.left)
    # Counted on an eager cell of each precision, which is what a compiled one runs too, before it is fused.
    traffic = {key[0]: count_traffic(cell, micro) for key, cell in cells.items() if not key[1]}
    steps: dict[Setting, Step] = {}
    for key, cell in cells.items():
        counted = traffic.get(key[0]) or next(iter(traffic.values()))
        steps[key] = describe(cell, timings, micro, counted, limits)
        if "compile" in steps[key].figures and "pay-back" not in steps[key].figures:
            budget.skip(f"{steps[key].name} pay-back", "never: compiled is not faster than eager")
    diagnosis = None
    if own in steps and own[0] in traffic:
        found = find(cells[own], steps[own], batches, loading, limits, traffic[own[0]])
        rates = {str(precision): value for precision, value in limits.measured_flops.items()}
        diagnosis = diagnose(found, list(steps.values()), rates) if found else None
    return Measured(list(steps.values()), loading, diagnosis)


def load_batches(session: Session, seconds: float) -> tuple[Kernel, list[Batch]]:
    """Load batches with nothing else going on: how fast, and the batches."""
    batches: list[Batch] = []
    times: list[float] = []
    end = time.monotonic() + seconds
    mark = time.perf_counter()
    for batch in session.train_loader:
        now = time.perf_counter()
        times.append(now - mark)
        batches.append(batch)
        if len(batches) == LOOKED_AT or time.monotonic() > end:
            break
        mark = time.perf_counter()
    settled = times[1:] or times  # the first opens files and starts workers
    useful = sum(batch.useful for batch in batches) / len(batches)
    timing = summarize(settled)
    workers = session.recipe.trainer.workers
    kernel = Kernel(
        name=f"loading {session.recipe.name}",
        group="data",
        precision="-",
        shape=f"{len(batches)} batches of {useful:.0f} useful tokens on average, {workers} workers",
        figures={"rate": rate(useful, "tokens/s", timing, Limit(None, "loading has no limit but the step it feeds"))},
        seconds=timing.median,
        flops=0.0,
        bytes=0.0,
    )
    return kernel, batches


def time_cells(
    cells: Mapping[Setting, Cell], micro: Sequence[Batch], device: torch.device, seconds: float
) -> dict[Setting, Timing]:
    """Seconds a step of every cell, taking turns. The cache is not flushed: what a step leaves there is its own."""

    def call(cell: Cell) -> Callable[[], object]:
        return lambda: cell.loop.step(micro)

    return measure({key: call(cell) for key, cell in cells.items()}, clock_for(device), seconds)


def find(
    cell: Cell, step: Step, batches: Sequence[Batch], loading: Kernel, limits: Limits, traffic: Traffic
) -> Findings | None:
    """What the diagnosis needs to know, or None where a limit was not measured."""
    matmul_rate, bandwidth = limits.measured_flops.get(cell.precision), limits.measured_bandwidth
    if matmul_rate is None or bandwidth is None:
        return None
    settings = cell.loop.session.recipe.trainer
    wait = loading.seconds * settings.accumulate
    return Findings(
        step=step,
        useful_share=sum(batch.useful for batch in batches) / sum(batch.padded for batch in batches),
        product_flops=traffic.flops,
        product_bytes=traffic.product_bytes,
        matmul_rate=matmul_rate,
        bandwidth=bandwidth,
        host_seconds=host_seconds(cell, matmul_rate, bandwidth, limits.device),
        overlapped=limits.device.type == "cuda",
        input_seconds=wait if settings.workers == 0 else max(0.0, wait / settings.workers - step.seconds),
        workers=settings.workers,
    )


def host_seconds(cell: Cell, matmul_rate: float, bandwidth: float, device: torch.device) -> float:
    """What the host needs for a step whatever is in the batch: a step on one example, less its work at the limits.

    0 for a compiled step: one example is a new shape, which would be compiled anew.
    """
    if cell.compiled:
        return 0.0
    settings = cell.loop.session.recipe.trainer
    one = [cell.loop.session.splits.train[np.zeros(1, dtype=np.int64)]] * settings.accumulate
    timing = measure({"one": lambda: cell.loop.step(one)}, clock_for(device), seconds=1.0)["one"]
    traffic = count_traffic(cell, one)
    work = traffic.flops / matmul_rate + (traffic.bytes - traffic.product_bytes) / bandwidth
    return max(0.0, timing.median - work)


def describe(
    cell: Cell, timings: Mapping[Setting, Timing], micro: Sequence[Batch], traffic: Traffic, limits: Limits
) -> Step:
    """A cell's timing as figures."""
    session = cell.loop.session
    timing = timings[cell.precision, cell.compiled]
    flops = sum(session.task.flops(session.model, batch) for batch in micro)
    useful, padded = sum(batch.useful for batch in micro), sum(batch.padded for batch in micro)
    figures = step_figures(timing, cell.precision, flops, useful, padded, cell.memory, limits)
    if cell.compiled:
        figures |= compile_figures(cell.first_seconds, timing, timings.get((cell.precision, False)))
    return Step(
        recipe=session.recipe.name,
        precision=cell.precision,
        compiled=cell.compiled,
        gate=cell.gate,
        figures=figures,
        seconds=timing.median,
        flops=flops,
        bytes=traffic.bytes,
        operators=traffic.operators,
    )


def count_traffic(cell: Cell, micro: Sequence[Batch]) -> Traffic:
    """Operators, bytes and products of one step."""
    traffic = Traffic()
    with traffic:
        cell.loop.step(micro)
    return traffic
