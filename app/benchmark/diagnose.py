"""Why a training step takes as long as it does, and what to do first.

The step's time is set against what its parts would take at this machine's measured limits: its matrix products at the
matmul rate (the padded part of them apart), everything else at the memory bandwidth, its operators and its Python at
what a step on a single example still takes, its batch at the speed of loading. The largest part names the bound. It is
a model, and the sentence says so by printing what it leaves unexplained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.benchmark.results import Diagnosis, Lever, Part, Step

Bound = Literal["compute", "memory", "launch", "input", "padding"]

_MEANS: dict[Bound, str] = {
    "compute": "of the time are matrix products on useful tokens",
    "memory": "of the time moves tensors through memory outside of products",
    "launch": "of the time runs Python and dispatches operators",
    "input": "of the time waits for data",
    "padding": "of the time computes on padding",
}


@dataclass(frozen=True)
class Findings:
    """What was measured of one step. Seconds a step throughout."""

    step: Step
    useful_share: float
    """Useful tokens over padded ones, in (0, 1]."""
    product_flops: float
    """Operations of the products that the step really runs, padding included."""
    product_bytes: float
    """Of `step.bytes`, those of the products."""
    matmul_rate: float
    """FLOP/s measured for this precision."""
    bandwidth: float
    """Bytes/s measured."""
    host_seconds: float
    """What dispatching the step takes the host: a step on one example, less what its work takes at the limits."""
    overlapped: bool
    """Whether the device works while the host dispatches (a GPU)."""
    input_seconds: float
    """Wait for a batch that the step does not hide."""
    workers: int


def parts(found: Findings) -> tuple[Part, ...]:
    """Shares of the time of a step with its wait for data, largest first; they add up to at most 1."""
    step = found.step.seconds
    products = found.product_flops / found.matmul_rate
    padding = products * (1 - found.useful_share)
    moving = max(0.0, found.step.bytes - found.product_bytes) / found.bandwidth
    if found.overlapped:  # the host's time shows only where it is the longer one
        waiting = step - products - moving if found.host_seconds >= 0.9 * step else 0.0
    else:
        waiting = found.host_seconds
    inside: dict[Bound, float] = {
        "compute": products - padding,
        "padding": padding,
        "memory": moving,
        "launch": max(0.0, waiting),
    }
    # Caches make memory look faster than it was measured: the parts may then exceed the whole and are scaled to fit it.
    scale = step / max(step, sum(inside.values()))
    whole = step + found.input_seconds
    shares = [Part(bound, seconds * scale / whole) for bound, seconds in inside.items()]
    shares.append(Part("input", found.input_seconds / whole))
    return tuple(sorted(shares, key=lambda part: -part.share))


def levers(found: Findings, others: Sequence[Step], rates: dict[str, float]) -> tuple[Lever, ...]:
    """What could be changed, the largest gain first. `others`: the same recipe's steps in other settings.

    A gain that the grid measured is that; else it is the most there is to gain: the whole part goes away.
    `rates`: measured matmul FLOP/s by precision, for the precisions that were not run.
    """
    share = {part.bound: part.share for part in parts(found)}
    step = found.step
    found_levers: list[Lever] = []
    for other in others:
        if other.name != step.name:
            what = f"trainer.precision={other.precision} trainer.compile={str(other.compiled).lower()}"
            whole = step.seconds + found.input_seconds
            found_levers.append(Lever(what, whole / (other.seconds + found.input_seconds), measured=True))
    if not step.compiled and not any(other.compiled for other in others):
        found_levers.append(Lever("trainer.compile=true", _without(share["launch"] + share["memory"]), measured=False))
    run = {other.precision for other in others} | {step.precision}
    for precision, rate in rates.items():
        if precision not in run and rate > found.matmul_rate:
            saved = (share["compute"] + share["padding"]) * (1 - found.matmul_rate / rate)
            found_levers.append(Lever(f"trainer.precision={precision}", _without(saved), measured=False))
    found_levers.append(
        Lever("trainer.batch_tokens (batches of like length)", _without(share["padding"]), measured=False)
    )
    if found.workers == 0:
        found_levers.append(Lever("trainer.workers=2", _without(share["input"]), measured=False))
    found_levers.append(Lever("a larger trainer.batch_size", _without(share["launch"]), measured=False))
    return tuple(sorted((lever for lever in found_levers if lever.gain > 1.02), key=lambda lever: -lever.gain))


def diagnose(found: Findings, others: Sequence[Step], rates: dict[str, float]) -> Diagnosis:
    """The bound, the largest lever and its expected gain, as data and as a sentence."""
    shares, choices = parts(found), levers(found, others, rates)
    first = shares[0]
    unexplained = 1 - sum(part.share for part in shares)
    sentence = f"{found.step.name} is {first.bound}-bound: {first.share:.0%} {_MEANS[first.bound]}"
    if unexplained > first.share:
        sentence += (
            f", as far as limits explain it; {unexplained:.0%} is kernels that run below what this machine reaches."
        )
    else:
        sentence += f"; {unexplained:.0%} is explained by no limit." if unexplained > 0.005 else "."
    if choices:
        best = choices[0]
        how = "measured" if best.measured else "at most"
        sentence += f" Largest lever: {best.what}, {best.gain:.2f} times as fast ({how})."
    else:
        sentence += " No setting measured here makes it faster."
    return Diagnosis(step=found.step.name, parts=shares, levers=choices, sentence=sentence)


def _without(share: float) -> float:
    """How many times faster a whole is without one share of it; a share of everything counts as 99 %."""
    return 1 / (1 - min(max(share, 0.0), 0.99))
