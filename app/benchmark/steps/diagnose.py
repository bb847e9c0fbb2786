"""Why a training step takes as long as it does, and what to do first.

The step's time is set against what its parts would take at this machine's measured limits: its matrix products at the
matmul rate (the padded part of them apart), everything else at the memory bandwidth, its operators and its Python at
what a step on a single example still takes, its batch at the speed of loading. The largest part names the bound. It is
a model, and the sentence says so by printing what it leaves unexplained.

What a compiled step moves is only known from above: what the eager one moves. Its memory part is that or what the
products leave, whichever is less, and the sentence says `at most`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.benchmark.figure import Figure, Limit
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
    """Of the bytes of `step.work`, those of the products."""
    matmul_rate: float
    """FLOP/s measured for this precision."""
    bandwidth: float
    """Bytes/s measured."""
    host_seconds: float | None
    """What dispatching the step takes the host; None where that cannot be told from its work."""
    overlapped: bool
    """Whether the device works while the host dispatches (a GPU)."""
    input_seconds: float
    """Wait for a batch that the step does not hide."""
    workers: int


def shares(found: Findings) -> dict[Bound, float]:
    """Shares of the time of a step with its wait for data, largest first; they add up to at most 1."""
    step, host = found.step.work.seconds, found.host_seconds or 0.0
    products = found.product_flops / found.matmul_rate
    padding = products * (1 - found.useful_share)
    moving = max(0.0, found.step.work.bytes - found.product_bytes) / found.bandwidth
    waiting = host
    if found.overlapped:  # the host's time shows only where it is the longer one
        if found.step.compiled and host >= 0.9 * step:
            moving = 0.0  # an upper bound is no evidence against the host, which was seen to take all of the time
        waiting = step - products - moving if host >= 0.9 * step else 0.0
    if found.step.compiled:
        moving = min(moving, max(0.0, step - products))
    inside: dict[Bound, float] = {
        "compute": products - padding,
        "padding": padding,
        "memory": moving,
        "launch": max(0.0, waiting),
    }
    # Caches make memory look faster than it was measured: the parts may then exceed the whole and are scaled to fit it.
    scale = step / max(step, sum(inside.values()))
    whole = step + found.input_seconds
    of_whole: dict[Bound, float] = {bound: seconds * scale / whole for bound, seconds in inside.items()}
    of_whole["input"] = found.input_seconds / whole
    return dict(sorted(of_whole.items(), key=lambda item: -item[1]))


def levers(found: Findings, others: Sequence[Step], rates: dict[str, float]) -> tuple[Lever, ...]:
    """What could be changed, the largest gain first. `others`: the same recipe's steps in other settings.

    A gain that the grid measured is that; else it is the most there is to gain: the whole part goes away.
    `rates`: measured matmul FLOP/s by precision, for the precisions that were not run.
    """
    share = shares(found)
    step = found.step
    choices: list[Lever] = []
    for other in others:
        if other.name != step.name:
            what = f"trainer.precision={other.precision} trainer.compile={str(other.compiled).lower()}"
            choices.append(Lever(what, _measured_gain(step, other, found.input_seconds), measured=True))
    if not step.compiled and not any(other.compiled for other in others):
        choices.append(_estimate("trainer.compile=true", share["launch"] + share["memory"]))
    run = {other.precision for other in others} | {step.precision}
    for precision, rate in rates.items():
        if precision not in run and rate > found.matmul_rate:
            saved = (share["compute"] + share["padding"]) * (1 - found.matmul_rate / rate)
            choices.append(_estimate(f"trainer.precision={precision}", saved))
    choices.append(_estimate("trainer.batch_tokens (batches of like length)", share["padding"]))
    if found.workers == 0:
        choices.append(_estimate("trainer.workers=2", share["input"]))
    choices.append(_estimate("a larger trainer.batch_size", share["launch"]))
    return tuple(sorted((lever for lever in choices if lever.gain.value > 1.02), key=lambda lever: -lever.gain.value))


def diagnose(found: Findings, others: Sequence[Step], rates: dict[str, float]) -> Diagnosis:
    """The bound, the largest lever and its expected gain, as data and as a sentence."""
    of_whole, choices = shares(found), levers(found, others, rates)
    bound, share = next(iter(of_whole.items()))
    unexplained = 1 - sum(of_whole.values())
    most = "at most " if bound == "memory" and found.step.compiled else ""
    sentence = f"{found.step.name} is {bound}-bound: {most}{share:.0%} {_MEANS[bound]}"
    slow = "kernels that run below what this machine reaches"
    if found.host_seconds is None:
        slow = f"dispatching or {slow}, which a CPU does not tell apart in a compiled step"
    if unexplained > share:
        sentence += f", as far as limits explain it; {unexplained:.0%} is {slow}."
    else:
        sentence += f"; {unexplained:.0%} is explained by no limit." if unexplained > 0.005 else "."
    if found.step.compiled:
        sentence += " What it moves is eager's traffic, an upper bound."
    if choices:
        best = choices[0]
        how = "measured" if best.measured else "at most"
        sentence += f" Largest lever: {best.what}, {best.gain.value:.2f} times as fast ({how})."
    else:
        sentence += " No setting measured here makes it faster."
    parts = tuple(Part(bound, _of_the_step(share, found.step.work.time)) for bound, share in of_whole.items())
    return Diagnosis(step=found.step.name, parts=parts, levers=choices, sentence=sentence)


def _of_the_step(share: float, time: Figure) -> Figure:
    """A share as a figure: it is the smaller the longer the step took, so it spreads as the step does."""
    low, high = (min(100.0, 100 * share * time.value / end) for end in (time.high, time.low))
    return Figure(100 * share, "%", low, high, time.n, Limit(100.0, "the whole step", ceiling=True), "lower")


def _measured_gain(step: Step, other: Step, waiting: float) -> Figure:
    """How many times as fast another setting was, from the far ends of both spreads to the near ones."""
    ours, theirs = step.work.time, other.work.time
    wait = 1e3 * waiting
    return Figure(
        value=(ours.value + wait) / (theirs.value + wait),
        unit="times as fast",
        low=(ours.low + wait) / (theirs.high + wait),
        high=(ours.high + wait) / (theirs.low + wait),
        n=min(ours.n, theirs.n),
        limit=Limit(None, "the limit of the time stands with the step"),
        better="higher",
    )


def _estimate(what: str, share: float) -> Lever:
    """The gain of a whole without one share of it, at most; a share of everything counts as 99 %."""
    gain = 1 / (1 - min(max(share, 0.0), 0.99))
    limit = Limit(None, "an estimate: at most all of that part of the time is gone")
    return Lever(what, Figure(gain, "times as fast", 1.0, gain, 0, limit, "higher"), measured=False)
