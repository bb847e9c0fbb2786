"""A recipe's own training step, timed in every precision, eager and compiled, behind a correctness gate.

One step is one optimizer step on the batch of median size, the same for every setting. Loading is timed separately.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, Work, duration, rate
from app.benchmark.kernels.attention import AttentionShape
from app.benchmark.kernels.optimizer import Size
from app.benchmark.limits import Limits
from app.benchmark.results import Diagnosis, Kernel, TrainingStep
from app.benchmark.steps.diagnose import diagnose
from app.benchmark.steps.grid import GridPoint, Setting, prepare_grid
from app.benchmark.steps.operator_counter import OperatorCounter
from app.benchmark.steps.prepared import typical
from app.benchmark.steps.profile import count_operators, profile_step
from app.benchmark.steps.step_figures import PAY_BACK, summarize_step
from app.benchmark.timer import Timing, clock_for, measure, summarize
from app.config import load
from app.data.batch import Batch
from app.finetune.session import Session, prepare

SAMPLED_BATCHES = 40  # to take the median one from, and to measure padding and loading


@dataclass(frozen=True)
class RecipeMeasurement:
    """What was measured of one recipe."""

    steps: list[TrainingStep]
    loading: Kernel
    attention: AttentionShape | None
    """Its attention on the timed batch, if the model is a transformer."""
    sizes: list[Size]
    """Sizes of the trainable parameters."""
    diagnosis: Diagnosis | None = None


def measure_recipe(name: str, overrides: Sequence[str], limits: Limits, budget: Budget) -> RecipeMeasurement:
    """Time a recipe's step in every setting that fits the budget. Raises WorkspaceError if the recipe is wrong."""
    device = limits.device
    recipe = load(name, overrides)
    session = prepare(recipe)
    loading, batches = measure_loading(session, 0.1 * budget.left)
    micro = typical(batches, recipe.trainer.accumulate)
    sizes: list[Size] = [tuple(p.shape) for p in session.model.parameters() if p.requires_grad]
    measured = RecipeMeasurement([], loading, attention_shape(session, micro[0]), sizes)
    grid = prepare_grid(session, name, overrides, micro, device, budget)
    timings: dict[Setting, Timing] = {}
    with budget.guard(f"steps of {recipe.name}"):
        timings = time_steps(grid, micro, device, 0.7 * budget.left)
    # Counted on the eager step of each precision. The compiled step runs the same operators, but fused.
    counts: dict[str, OperatorCounter] = {}
    for (precision, compiled), point in grid.items():
        if not compiled:
            with budget.guard(f"operators and bytes of {recipe.name} {precision}"):
                counts[precision] = count_operators(point, micro)
    steps: dict[Setting, TrainingStep] = {}
    for (precision, compiled), timing in timings.items():
        eager = timings.get((precision, False))
        step = summarize_step(grid[precision, compiled], timing, eager, micro, counts.get(precision), limits)
        steps[precision, compiled] = step
        if compiled and PAY_BACK not in step.figures:
            budget.skip(f"{step.name} {PAY_BACK}", "never: compiled is not faster than eager")
    own: Setting = (session.precision.word, recipe.trainer.compile)
    diagnosis = None
    if own in steps and own[0] in counts:
        with budget.guard(f"diagnosis of {steps[own].name}"):
            profile = profile_step(grid[own], steps[own], batches, loading, limits, counts[own[0]])
            rates = {str(precision): value for precision, value in limits.measured_flops.items()}
            diagnosis = diagnose(profile, list(steps.values()), rates) if profile else None
            if not profile:
                what = f"no {own[0]} matmul rate and bandwidth of its device were measured"
                budget.skip(f"diagnosis of {steps[own].name}", what)
    return replace(measured, steps=list(steps.values()), diagnosis=diagnosis)


def attention_shape(session: Session, batch: Batch) -> AttentionShape | None:
    """Return the attention of a recipe's model on a batch; None if the model has none."""
    config: Any = getattr(session.model, "config", None)
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "heads", None)
    width = getattr(config, "hidden_size", None) or getattr(config, "width", None)
    ids = batch.inputs.get("input_ids", batch.inputs.get("ids"))
    if not heads or not width or ids is None:
        return None
    causal = session.recipe.task in ("language-model", "causal-lm")
    B, T = ids.shape
    return AttentionShape(f"recipe {session.recipe.name}", B, heads, T, width // heads, causal)


def measure_loading(session: Session, seconds: float) -> tuple[Kernel, list[Batch]]:
    """Load up to `SAMPLED_BATCHES` batches while nothing else runs; return the loading's rate and the batches."""
    batches: list[Batch] = []
    times: list[float] = []
    end = time.monotonic() + seconds
    mark = time.perf_counter()
    for batch in session.train_loader:
        now = time.perf_counter()
        times.append(now - mark)
        batches.append(batch)
        if len(batches) == SAMPLED_BATCHES or time.monotonic() > end:
            break
        mark = time.perf_counter()
    workers = session.recipe.trainer.workers
    timing = summarize(burst_means(times[1:] or times, workers))  # the first opens files and starts workers
    useful = sum(batch.useful for batch in batches) / len(batches)
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


def burst_means(times: Sequence[float], workers: int) -> list[float]:
    """Return the seconds between batches, averaged over bursts: workers deliver one batch each at about one time."""
    group = max(1, min(workers, len(times)))
    return [sum(times[at : at + group]) / group for at in range(0, len(times) - group + 1, group)]


def time_steps(
    grid: Mapping[Setting, GridPoint], micro: Sequence[Batch], device: torch.device, seconds: float
) -> dict[Setting, Timing]:
    """Time the steps of all settings, interleaved. Caches are not flushed: a step leaves its data in them."""

    def call(point: GridPoint) -> Callable[[], object]:
        return lambda: point.step.step(micro)

    return measure({setting: call(point) for setting, point in grid.items()}, clock_for(device), seconds)
