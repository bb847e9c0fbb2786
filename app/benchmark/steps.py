"""A recipe's own training step, timed in every precision, eager and compiled, behind a correctness gate.

One step is one optimizer step on the batch of median size, the same for every setting; loading is timed apart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from app.benchmark.bare import BareLoop, typical
from app.benchmark.budget import Budget
from app.benchmark.diagnose import Findings, diagnose
from app.benchmark.limits import Limits
from app.benchmark.memory_use import PeakMemory
from app.benchmark.results import Diagnosis, Gate, Kernel, Limit, Step, rate
from app.benchmark.step_figures import compile_figures, gate_text, step_figures
from app.benchmark.timer import Timing, clock_for, measure, summarize
from app.benchmark.traffic import Traffic
from app.config import load
from app.data.batch import Batch
from app.errors import WorkspaceError
from app.finetune.session import Session, prepare
from app.models.peaks import PRECISIONS, Precision

# Relative distance of the loss from float32's that a precision explains: its rounding over a dozen layers, no more.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "tf32": 2e-3, "fp16": 5e-3, "bf16": 2e-2}
Setting = tuple[Precision, bool]  # and whether it is compiled
LOOKED_AT = 40  # batches of which the median one is taken, and over which padding and loading are measured
STEPS_A_CELL = 6  # steps for which there must be time for a setting to be timed at all: warm-up and a few rounds


@dataclass
class Cell:
    """One setting of the recipe, ready to be timed."""

    precision: Precision
    compiled: bool
    loop: BareLoop
    gate: Gate
    memory: int | None
    """Bytes, model, gradients and optimizer included."""
    first_seconds: float
    """The first step, which compiles."""


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


def build_cells(
    session: Session,
    asked: tuple[str, Sequence[str]],
    micro: Sequence[Batch],
    own: Setting,
    device: torch.device,
    budget: Budget,
) -> dict[Setting, Cell]:
    """Prepare float32 for its loss, then the recipe's own setting, then the others while there is time.

    `asked`: the recipe's name or path and the overrides, from which each setting is loaded anew.
    """
    name, (source, overrides) = session.recipe.name, asked
    wanted = [("fp32", False), own, *((p, False) for p in PRECISIONS), *((p, True) for p in PRECISIONS)]
    cells: dict[Setting, Cell] = {}
    refused: set[Precision] = set()
    reference: float | None = None
    built = 0.0
    for precision, compiled in dict.fromkeys(wanted):
        label = f"{name} {precision} {'compiled' if compiled else 'eager'}"
        timing = STEPS_A_CELL * sum(cell.first_seconds for cell in cells.values() if not cell.compiled)
        compiling = compile_estimate(session) if compiled else 0.0
        if precision in refused or not budget.allows(label, timing + built + compiling):
            continue
        start = time.monotonic()
        settings = [f"trainer.precision={precision}", f"trainer.compile={str(compiled).lower()}"]
        try:
            cell = build_cell(source, [*overrides, *settings], micro, reference, device)
        except WorkspaceError as error:
            refused.add(precision)
            budget.skip(f"{name} {precision}", error.problems[0].what)
            continue
        except torch.cuda.OutOfMemoryError:
            budget.skip(label, "no memory for it beside the settings that it is timed against")
            continue
        except RuntimeError as error:
            if not compiled:
                raise
            budget.skip(label, f"torch could not compile it: {str(error).strip().splitlines()[0]}")
            continue
        reference = cell.gate.reference
        if not compiled:
            built = time.monotonic() - start
        if compiled and not really_compiled(cell.loop.session):
            budget.skip(label, "torch could not compile the model; the step fell back to eager")
        elif not cell.gate.passed:
            budget.skip(label, f"{gate_text(cell.gate)}: no speed is printed")
        else:
            cells[precision, compiled] = cell
    return cells


def really_compiled(session: Session) -> bool:
    """Whether the model has a compiled form that has not fallen back to the model itself."""
    return any(getattr(form, "forward", form) is not session.model for form in session.module.compiled)


def compile_estimate(session: Session) -> float:
    """Seconds that compiling a step and its evaluation may take, by the size of the model: an upper guess.

    Seen on two cores: 5 s for one layer, 25 to 60 s for transformers of 40 and 110 modules.
    """
    return 5.0 + 0.6 * sum(1 for _ in session.model.modules())


def build_cell(
    name: str, settings: Sequence[str], micro: Sequence[Batch], reference: float | None, device: torch.device
) -> Cell:
    """Prepare one setting, take its loss before any step, and make the first step. Raises WorkspaceError."""
    with PeakMemory(device) as peak, empty_compiler_caches():
        session = prepare(load(name, settings))
        loop = BareLoop.alone(session, device)
        loss = loop.loss(micro)
        start = time.perf_counter()
        loop.step(micro)
        wait_for(device)
        first = time.perf_counter() - start
    precision = session.precision.word
    gate = Gate(loss, loss if reference is None else reference, TOLERANCE[precision])
    return Cell(precision, session.recipe.trainer.compile, loop, gate, peak.bytes, first)


@contextmanager
def empty_compiler_caches() -> Iterator[None]:
    """Inductor and Triton find nothing of earlier runs, so that what compiling costs is all of it."""
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    with TemporaryDirectory(prefix="bench-compiler-", ignore_cleanup_errors=True) as folder:
        os.environ.update({name: str(Path(folder, name.lower())) for name in names})
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


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


def wait_for(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
