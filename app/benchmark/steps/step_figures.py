"""The figures of a timed training step, each with the limit that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from app.benchmark.figure import Figure, Limit, Work, counted, duration, rate, single
from app.benchmark.limits import Limits
from app.benchmark.machine import device_memory
from app.benchmark.results import TrainingStep
from app.benchmark.steps.grid import GridPoint
from app.benchmark.steps.operator_counter import OperatorCounter
from app.benchmark.timer import Timing
from app.data.batch import Batch
from app.finetune.tasks.base import FlopCounter
from app.hardware.peaks import Precision

_MIB = 1 << 20
PAY_BACK = "pay-back for one shape"


def summarize_step(
    point: GridPoint,
    timing: Timing,
    eager: Timing | None,
    micro: Sequence[Batch],
    counts: OperatorCounter | None,
    limits: Limits,
) -> TrainingStep:
    """Return a timed step as figures.

    `eager`: the timing of the eager step in the same precision, if there is one.
    `counts`: of the eager step in the same precision, if it could be counted.
    """
    session = point.step.session
    flops = sum(map(FlopCounter(session.task, session.model), micro))
    useful, padded = sum(batch.useful for batch in micro), sum(batch.padded for batch in micro)
    figures = step_figures(timing, point.precision, flops, useful, padded, point.memory, limits)
    how = "as the eager step dispatches them"
    if point.compiled:
        how += ", which is an upper bound for the compiled one"
        figures |= compile_figures(point.first_seconds, timing, eager)
    return TrainingStep(
        recipe=session.recipe.name,
        precision=point.precision,
        compiled=point.compiled,
        gate=point.gate,
        figures=figures,
        work=Work(
            figures["time"],
            counted(flops, "FLOP", "the model's own, on useful tokens"),
            counted(counts.bytes, "B", how) if counts else None,
        ),
        operators=counted(counts.operators, "operators", how) if counts else None,
    )


def step_figures(
    timing: Timing, precision: Precision, flops: float, useful: int, padded: int, memory: int | None, limits: Limits
) -> dict[str, Figure]:
    """Return time, tokens/s, MFU and memory of a step of `flops` useful FLOPs on `useful` of `padded` tokens.

    MFU: the FLOPs that the model needs for useful tokens over those that the device could do in the time (Chowdhery et
    al. 2022, PaLM, appendix B). Work on padding and recomputation do not count as utilization.
    """
    measured = limits.measured_flops.get(precision)
    source = f"useful operations at the {precision} matmul rate measured here"
    least = Limit(flops / measured, source) if measured else Limit(None, f"no {precision} matmul was measured")
    figures = {
        "time": duration(timing, Limit(least.value and least.value * 1e3, least.source)),
        "useful tokens": rate(useful, "tokens/s", timing, Limit(useful / least.value if least.value else None, source)),
        "padded tokens": rate(padded, "tokens/s", timing, Limit(padded / least.value if least.value else None, source)),
    }
    if measured:
        whole = Limit(100.0, f"the {precision} matmul rate measured here")
        figures["MFU of measured peak"] = rate(100 * flops / measured, "%", timing, whole)
    if limits.peak and (peak := limits.peak.rate(precision)):
        whole = Limit(100.0, f"datasheet, {limits.peak.name}, dense {precision}: {limits.peak.source}")
        figures["MFU of datasheet peak"] = rate(100 * flops / peak, "%", timing, whole)
    if memory is not None:
        all_of_it = Limit(device_memory(limits.device) / _MIB, "all of the device's memory", ceiling=True)
        figures["memory"] = single(memory / _MIB, "MiB", all_of_it)
    return figures


def compile_figures(first_seconds: float, compiled: Timing, eager: Timing | None) -> dict[str, Figure]:
    """Return the cost of compiling, and the steps after which it has paid back, if it ever does.

    It is the cost of one shape of batch. If batches differ in shape, each new shape is compiled as well.
    """
    cost = max(0.0, first_seconds - compiled.median)
    figures = {"compile for one shape": single(cost, "s", Limit(0.0, "a compiler that takes no time"))}
    if eager and eager.median > compiled.median:
        steps = cost / (eager.median - compiled.median)
        figures[PAY_BACK] = single(steps, "steps", Limit(0.0, "a compiler that takes no time"))
    return figures
