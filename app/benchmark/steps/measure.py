"""A recipe's own training step, timed in every precision, eager and compiled, behind a correctness gate.

One step is one optimizer step on the batch of median size, the same for every setting; loading is timed apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, Work, counted, duration, rate
from app.benchmark.kernels.attention_adamw import Heads, Size
from app.benchmark.limits import Limits
from app.benchmark.results import Diagnosis, Kernel, Step
from app.benchmark.steps.diagnose import Findings, diagnose
from app.benchmark.steps.figures import PAY_BACK, compile_figures, step_figures
from app.benchmark.steps.grid import Cell, Setting, build_cells, wait_for
from app.benchmark.steps.operator_counter import Traffic
from app.benchmark.steps.prepared import typical
from app.benchmark.timer import EnqueueClock, Timing, clock_for, measure, summarize
from app.config import load
from app.data.batch import Batch
from app.finetune.session import Session, prepare
from app.finetune.tasks.base import FlopCounter

LOOKED_AT = 40  # batches of which the median one is taken, and over which padding and loading are measured


@dataclass(frozen=True)
class Measured:
    """What was found of one recipe."""

    steps: list[Step]
    loading: Kernel
    heads: Heads | None
    """Its attention at the batch that was timed, where the model is a transformer."""
    sizes: list[Size]
    """Of the parameters that are trained."""
    diagnosis: Diagnosis | None = None


def measure_recipe(
    name: str, overrides: Sequence[str], device: torch.device, limits: Limits, budget: Budget
) -> Measured:
    """Time a recipe's step in every setting that fits into the budget. Raises WorkspaceError for a bad recipe."""
    recipe = load(name, overrides)
    session = prepare(recipe)
    loading, batches = load_batches(session, 0.1 * budget.left)
    micro = typical(batches, recipe.trainer.accumulate)
    own: Setting = (session.precision.word, recipe.trainer.compile)
    sizes: list[Size] = [tuple(p.shape) for p in session.model.parameters() if p.requires_grad]
    measured = Measured([], loading, heads_of(session, micro[0]), sizes)
    cells = build_cells(session, (name, overrides), micro, own, device, budget)
    timings: dict[Setting, Timing] = {}
    with budget.guard(f"steps of {recipe.name}"):
        timings = time_cells(cells, micro, device, 0.7 * budget.left)
    # Counted on an eager cell of each precision, which is what a compiled one runs too, before it is fused.
    traffic: dict[str, Traffic] = {}
    for (precision, compiled), cell in cells.items():
        if not compiled:
            with budget.guard(f"operators and bytes of {recipe.name} {precision}"):
                traffic[precision] = count_traffic(cell, micro)
    steps: dict[Setting, Step] = {}
    for key in timings:
        steps[key] = describe(cells[key], timings, micro, traffic.get(key[0]), limits)
        if cells[key].compiled and PAY_BACK not in steps[key].figures:
            budget.skip(f"{steps[key].name} {PAY_BACK}", "never: compiled is not faster than eager")
    diagnosis = None
    if own in steps and own[0] in traffic:
        with budget.guard(f"diagnosis of {steps[own].name}"):
            found = find(cells[own], steps[own], batches, loading, limits, traffic[own[0]])
            rates = {str(precision): value for precision, value in limits.measured_flops.items()}
            diagnosis = diagnose(found, list(steps.values()), rates) if found else None
            if not found:
                what = f"no {own[0]} matmul rate and bandwidth of its device were measured"
                budget.skip(f"diagnosis of {steps[own].name}", what)
    return replace(measured, steps=list(steps.values()), diagnosis=diagnosis)


def heads_of(session: Session, batch: Batch) -> Heads | None:
    """The attention of a recipe's model on a batch; None where the model has none."""
    config: Any = getattr(session.model, "config", None)
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "heads", None)
    width = getattr(config, "hidden_size", None) or getattr(config, "width", None)
    ids = batch.inputs.get("input_ids", batch.inputs.get("ids"))
    if not heads or not width or ids is None:
        return None
    causal = session.recipe.task in ("language-model", "causal-lm")
    B, T = ids.shape
    return Heads(f"recipe {session.recipe.name}", B, heads, T, width // heads, causal)


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
    workers = session.recipe.trainer.workers
    settled = arrivals(times[1:] or times, workers)  # the first opens files and starts workers
    useful = sum(batch.useful for batch in batches) / len(batches)
    timing = summarize(settled)
    limit = Limit(None, "loading has no limit but the step it feeds")
    kernel = Kernel(
        name=f"loading {session.recipe.name}",
        group="data",
        precision="-",
        shape=f"{len(batches)} batches of {useful:.0f} useful tokens on average, {workers} workers",
        figures={"rate": rate(useful, "tokens/s", timing, limit)},
        work=Work(duration(timing, limit)),
    )
    return kernel, batches


def arrivals(times: Sequence[float], workers: int) -> list[float]:
    """Seconds from batch to batch. Workers deliver in bursts, one batch each: a burst counts with its mean."""
    group = max(1, min(workers, len(times)))
    return [sum(times[at : at + group]) / group for at in range(0, len(times) - group + 1, group)]


def input_wait(loading: float, step: float, workers: int) -> float:
    """Seconds that a step waits for its batch, which takes `loading` to arrive with the workers that there are: all of
    it where the training process makes it itself, else what is left of it after the step before."""
    return loading if workers == 0 else max(0.0, loading - step)


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
    return Findings(
        step=step,
        useful_share=sum(batch.useful for batch in batches) / sum(batch.padded for batch in batches),
        product_flops=traffic.flops,
        product_bytes=traffic.product_bytes,
        matmul_rate=matmul_rate,
        bandwidth=bandwidth,
        host_seconds=host_seconds(cell, typical(batches, settings.accumulate), matmul_rate, bandwidth, limits.device),
        overlapped=limits.device.type == "cuda",
        input_seconds=input_wait(loading.work.seconds * settings.accumulate, step.work.seconds, settings.workers),
        workers=settings.workers,
    )


def host_seconds(
    cell: Cell, micro: Sequence[Batch], matmul_rate: float, bandwidth: float, device: torch.device
) -> float | None:
    """What the host needs for a step whatever is in the batch: a step on one example, less its work at the limits.

    Of a compiled step, for which one example is a new shape and would be compiled anew: what it takes the host to hand
    it to a GPU; None on a CPU, where that cannot be told from the work.
    """
    if cell.compiled:
        if device.type != "cuda":
            return None
        clock = EnqueueClock(lambda: wait_for(device))
        return measure({"step": lambda: cell.loop.step(micro)}, clock, seconds=1.0)["step"].median
    settings = cell.loop.session.recipe.trainer
    one = [cell.loop.session.splits.train[np.zeros(1, dtype=np.int64)]] * settings.accumulate
    timing = measure({"one": lambda: cell.loop.step(one)}, clock_for(device), seconds=1.0)["one"]
    traffic = count_traffic(cell, one)
    work = traffic.flops / matmul_rate + (traffic.bytes - traffic.product_bytes) / bandwidth
    return max(0.0, timing.median - work)


def describe(
    cell: Cell, timings: Mapping[Setting, Timing], micro: Sequence[Batch], traffic: Traffic | None, limits: Limits
) -> Step:
    """A cell's timing as figures. `traffic`: of the eager step in its precision, where that could be counted."""
    session = cell.loop.session
    timing = timings[cell.precision, cell.compiled]
    flops = sum(map(FlopCounter(session.task, session.model), micro))
    useful, padded = sum(batch.useful for batch in micro), sum(batch.padded for batch in micro)
    figures = step_figures(timing, cell.precision, flops, useful, padded, cell.memory, limits)
    how = "as the eager step dispatches them"
    if cell.compiled:
        how += ", which is an upper bound for the compiled one"
        figures |= compile_figures(cell.first_seconds, timing, timings.get((cell.precision, False)))
    return Step(
        recipe=session.recipe.name,
        precision=cell.precision,
        compiled=cell.compiled,
        gate=cell.gate,
        figures=figures,
        work=Work(
            figures["time"],
            counted(flops, "FLOP", "the model's own, on useful tokens"),
            counted(traffic.bytes, "B", how) if traffic else None,
        ),
        operators=counted(traffic.operators, "operators", how) if traffic else None,
    )


def count_traffic(cell: Cell, micro: Sequence[Batch]) -> Traffic:
    """Operators, bytes and products of one step."""
    traffic = Traffic()
    with traffic:
        cell.loop.step(micro)
    return traffic
