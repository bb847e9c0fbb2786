"""The figures of a training step: each with the limit that it is set against."""

from __future__ import annotations

from app.benchmark.figure import Figure, Limit, duration, rate, single
from app.benchmark.limits import Limits
from app.benchmark.machine import device_memory
from app.benchmark.results import Gate
from app.benchmark.timer import Timing
from app.hardware.peaks import Precision

_MIB = 1 << 20
PAY_BACK = "pay-back for one shape"


def step_figures(
    timing: Timing, precision: Precision, flops: float, useful: int, padded: int, memory: int | None, limits: Limits
) -> dict[str, Figure]:
    """Time, tokens a second, MFU and memory of a step of `flops` useful operations on `useful` of `padded` tokens.

    MFU: the operations that the model needs for useful tokens over those the device could do in the time
    (Chowdhery et al. 2022, PaLM, appendix B); work on padding and recomputation do not count as use.
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
    """What compiling cost, and after how many steps it has paid back; the latter only where it does.

    It is the cost of one shape of batch: where batches differ in shape, each new one is compiled too.
    """
    cost = max(0.0, first_seconds - compiled.median)
    figures = {"compile for one shape": single(cost, "s", Limit(0.0, "a compiler that takes no time"))}
    if eager and eager.median > compiled.median:
        steps = cost / (eager.median - compiled.median)
        figures[PAY_BACK] = single(steps, "steps", Limit(0.0, "a compiler that takes no time"))
    return figures


def gate_text(gate: Gate) -> str:
    """What the gate compared."""
    loss, away = gate.loss, gate.away
    beside = f"loss {loss.value:.6g} against {loss.limit.value:.6g} in float32"
    return f"{beside}: {away.value:.2g}% away, {away.limit.value:.2g}% allowed"
