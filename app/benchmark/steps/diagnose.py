"""Explain why a training step takes as long as it does, and which setting to change first.

The step's time is compared with what its parts would take at this machine's measured limits: its matrix products at the
matmul rate, with the products on padding counted separately; everything else at the memory bandwidth; operators and
Python at what a step on a single example still takes; its batch at the rate of loading. The largest part names the
bound. This is a model, and the sentence prints the share of the time that it leaves unexplained.

Of a compiled step's memory traffic only an upper bound is known, the eager step's. Its memory part is that bound or the
time that the products leave, whichever is less, and the sentence says `at most`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from app.benchmark.figure import Figure, Limit
from app.benchmark.results import Diagnosis, Lever, TimeShare, TrainingStep
from app.benchmark.steps.profile import StepProfile

Bound = Literal["compute", "memory", "launch", "input", "padding"]

_MEANINGS: dict[Bound, str] = {
    "compute": "of the time are matrix products on useful tokens",
    "memory": "of the time moves tensors through memory outside of products",
    "launch": "of the time runs Python and dispatches operators",
    "input": "of the time waits for data",
    "padding": "of the time computes on padding",
}


def time_shares(profile: StepProfile) -> dict[Bound, float]:
    """Return the shares of a step's time, its wait for data included, largest first. Their sum is at most 1."""
    step, host = profile.step.work.seconds, profile.host_seconds or 0.0
    products = profile.product_flops / profile.matmul_rate
    padding = products * (1 - profile.useful_share)
    moving = max(0.0, profile.step.work.bytes - profile.product_bytes) / profile.bandwidth
    waiting = host
    if profile.overlapped:  # the host's time shows only if it is longer than the device's
        if profile.step.compiled and host >= 0.9 * step:
            moving = 0.0  # the host was measured to take all of the time; an upper bound cannot outweigh that
        waiting = step - products - moving if host >= 0.9 * step else 0.0
    if profile.step.compiled:
        moving = min(moving, max(0.0, step - products))
    inside: dict[Bound, float] = {
        "compute": products - padding,
        "padding": padding,
        "memory": moving,
        "launch": max(0.0, waiting),
    }
    # Caches make memory faster than the bandwidth measured; the parts can then exceed the whole, and are scaled to it.
    scale = step / max(step, sum(inside.values()))
    whole = step + profile.input_seconds
    of_whole: dict[Bound, float] = {bound: seconds * scale / whole for bound, seconds in inside.items()}
    of_whole["input"] = profile.input_seconds / whole
    return dict(sorted(of_whole.items(), key=lambda item: -item[1]))


def levers(profile: StepProfile, others: Sequence[TrainingStep], rates: Mapping[str, float]) -> tuple[Lever, ...]:
    """Return the settings that make the step faster, the largest gain first, then those that may.

    A gain is what the grid measured. For a setting that nothing timed, it is an upper bound, in which a whole part of
    the step's time goes away; that is no promise, and is not shown: compiling often costs time on a CPU.

    `others`: the same recipe's steps in other settings.
    `rates`: measured matmul FLOP/s by precision, for the precisions that were not timed.
    """
    share = time_shares(profile)
    step = profile.step
    choices: list[Lever] = []
    for other in others:
        if other.name != step.name:
            what = f"trainer.precision={other.precision} trainer.compile={str(other.compiled).lower()}"
            choices.append(Lever(what, _measured_gain(step, other, profile.input_seconds), measured=True))
    if not step.compiled and not any(other.compiled for other in others):
        choices.append(_estimate("trainer.compile=true", share["launch"] + share["memory"]))
    timed = {other.precision for other in others} | {step.precision}
    for precision, rate in rates.items():
        if precision not in timed and rate > profile.matmul_rate:
            saved = (share["compute"] + share["padding"]) * (1 - profile.matmul_rate / rate)
            choices.append(_estimate(f"trainer.precision={precision}", saved))
    choices.append(_estimate("trainer.batch_tokens (batches of like length)", share["padding"]))
    if profile.workers == 0:
        choices.append(_estimate("trainer.workers=2", share["input"]))
    choices.append(_estimate("a larger trainer.batch_size", share["launch"]))
    useful = (lever for lever in choices if lever.gain.value > 1.02)
    return tuple(sorted(useful, key=lambda lever: (not lever.measured, -lever.gain.value)))


def diagnose(profile: StepProfile, others: Sequence[TrainingStep], rates: Mapping[str, float]) -> Diagnosis:
    """Return the bound, the largest lever and its measured gain, as data and as a sentence."""
    shares, choices = time_shares(profile), levers(profile, others, rates)
    bound, share = next(iter(shares.items()))
    unexplained = 1 - sum(shares.values())
    most = "at most " if bound == "memory" and profile.step.compiled else ""
    sentence = f"{profile.step.name} is {bound}-bound: {most}{share:.0%} {_MEANINGS[bound]}"
    slow = "kernels that run below what this machine reaches"
    if profile.host_seconds is None:
        slow = f"dispatching or {slow}, which a CPU does not tell apart in a compiled step"
    if unexplained > share:
        sentence += f", as far as limits explain it; {unexplained:.0%} is {slow}."
    else:
        sentence += f"; {unexplained:.0%} is explained by no limit." if unexplained > 0.005 else "."
    if profile.step.compiled:
        sentence += " What it moves is eager's traffic, an upper bound."
    if choices and choices[0].measured:
        sentence += f" Largest lever: {choices[0].what}, {choices[0].gain.value:.2f} times as fast (measured)."
    else:
        sentence += " No setting measured here makes it faster."
    if untried := [lever.what for lever in choices if not lever.measured]:
        sentence += f" Not measured, and worth a try: {'; '.join(untried)}."
    parts = tuple(TimeShare(bound, _share_figure(share, profile.step.work.time)) for bound, share in shares.items())
    return Diagnosis(step=profile.step.name, parts=parts, levers=choices, sentence=sentence)


def _share_figure(share: float, time: Figure) -> Figure:
    """Return a share as a figure. The longer a step took, the smaller its share, so it spreads as the step does."""
    low, high = (min(100.0, 100 * share * time.value / end) for end in (time.high, time.low))
    return Figure(100 * share, "%", low, high, time.n, Limit(100.0, "the whole step", ceiling=True), "lower")


def _measured_gain(step: TrainingStep, other: TrainingStep, waiting: float) -> Figure:
    """Return how many times as fast `other` is, `waiting` seconds for data added to both steps.

    The spread is the widest possible: one step's shortest time over the other's longest, and the reverse.
    """
    ours, theirs = step.work.time, other.work.time
    wait = 1e3 * waiting
    return Figure(
        value=(ours.value + wait) / (theirs.value + wait),
        unit="times as fast",
        low=(ours.low + wait) / (theirs.high + wait),
        high=(ours.high + wait) / (theirs.low + wait),
        n=min(ours.n, theirs.n),
        limit=Limit(None, "the limit of its time is in the table of the steps"),
        better="higher",
    )


def _estimate(what: str, share: float) -> Lever:
    """Return the upper estimate of the gain if a share of the time goes away; a share above 99 % counts as 99 %."""
    gain = 1 / (1 - min(max(share, 0.0), 0.99))
    limit = Limit(None, "an estimate: at most all of that part of the time is gone")
    return Lever(what, Figure(gain, "times as fast", 1.0, gain, 0, limit, "higher"), measured=False)
