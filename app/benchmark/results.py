"""What a benchmark leaves behind: figures with unit, limit and spread, and the file they are kept in.

`bench.json` is one `Result`. `BENCHMARK_VERSION` goes up whenever a figure starts to mean something else, so that
`app bench compare` never sets two different things side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from app.atomic import write_bytes
from app.benchmark.timer import Timing
from app.errors import DataError, Problem

BENCHMARK_VERSION = 1

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Limit:
    """The best a figure could be on this machine, in the figure's unit, and where that comes from.

    `value` is None where no limit is known; `source` then says why. `ceiling`: a limit to stay under, as memory is, and
    not one to come near.
    """

    value: float | None
    source: str
    ceiling: bool = False


@dataclass(frozen=True)
class Figure:
    """One number: its unit, its spread (`low` to `high`: 10th to 90th percentile of `n` samples) and its limit."""

    value: float
    unit: str
    low: float
    high: float
    n: int
    limit: Limit
    better: Better

    @property
    def share(self) -> float | None:
        """How near the value is to its limit: 1 is at the limit. None where no limit is known, or it is 0."""
        if not self.limit.value or not self.value:
            return None
        rises = self.better == "higher" or self.limit.ceiling
        return self.value / self.limit.value if rises else self.limit.value / self.value

    @property
    def spread(self) -> float:
        """Width of the spread as a share of the value."""
        return (self.high - self.low) / abs(self.value) if self.value else 0.0


def rate(amount: float, unit: str, timing: Timing, limit: Limit) -> Figure:
    """`amount` a call, as a rate: more is better. The slow end of the times is the low end of the rates."""
    return Figure(
        value=amount / timing.median,
        unit=unit,
        low=amount / timing.p90,
        high=amount / timing.p10,
        n=timing.n,
        limit=limit,
        better="higher",
    )


def duration(timing: Timing, limit: Limit, scale: float = 1e3, unit: str = "ms") -> Figure:
    """A time a call, in milliseconds unless told otherwise: less is better."""
    return Figure(timing.median * scale, unit, timing.p10 * scale, timing.p90 * scale, timing.n, limit, "lower")


def single(value: float, unit: str, limit: Limit, better: Better = "lower") -> Figure:
    """A number read once (a size, a compilation): its spread is itself, and `n` says so."""
    return Figure(value, unit, value, value, 1, limit, better)


@dataclass(frozen=True)
class Kernel:
    """One kernel at one shape: seconds a call (median), and its operations and bytes, counted as `shape` says."""

    name: str
    group: Literal["matmul", "memory", "transfer", "attention", "optimizer", "data", "trainer"]
    precision: str
    shape: str
    figures: Mapping[str, Figure]
    seconds: float
    flops: float
    bytes: float


@dataclass(frozen=True)
class Gate:
    """Whether a step's loss agrees with float32's: |loss - reference| <= tolerance * |reference|."""

    loss: float
    reference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return abs(self.loss - self.reference) <= self.tolerance * max(abs(self.reference), 1e-6)


@dataclass(frozen=True)
class Step:
    """One recipe's training step in one precision, eager or compiled.

    `flops` and `bytes` are a step's: the model's own operations on useful tokens, and every operator's inputs and
    outputs once, as eager PyTorch moves them. `operators` is how many operators the step dispatches.
    """

    recipe: str
    precision: str
    compiled: bool
    gate: Gate
    figures: Mapping[str, Figure]
    seconds: float
    flops: float
    bytes: float
    operators: int

    @property
    def name(self) -> str:
        return f"{self.recipe} {self.precision} {'compiled' if self.compiled else 'eager'}"


@dataclass(frozen=True)
class Part:
    """A share of the step's time that goes one way, in [0, 1]."""

    bound: Literal["compute", "memory", "launch", "input", "padding"]
    share: float


@dataclass(frozen=True)
class Lever:
    """Something to change, and how many times faster the step is then expected to be (`measured`: was seen to be)."""

    what: str
    gain: float
    measured: bool


@dataclass(frozen=True)
class Diagnosis:
    """What holds a recipe's step back, and what to do first."""

    step: str
    parts: tuple[Part, ...]
    levers: tuple[Lever, ...]
    sentence: str


@dataclass(frozen=True)
class Skipped:
    """Something that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Noise:
    """What the machine does to a measurement of one thing against itself; shares, 0 is best.

    ratio: medians of the same call timed as A and B in turns, as distance from 1. spread: p10 to p90 over the median.
    drift: the same call at the start and at the end. waited: part of the time in which a thread of ours could run and
    was not let (None where the kernel does not say). stolen: part of the machine's time the hypervisor gave to others.
    """

    ratio: float
    spread: float
    drift: float
    waited: float | None
    stolen: float | None
    reasons: tuple[str, ...] = ()

    @property
    def quiet(self) -> bool:
        return not self.reasons

    @property
    def level(self) -> float:
        """A difference between two runs that is smaller than this means nothing."""
        return max(self.ratio, self.drift)


@dataclass(frozen=True)
class Result:
    """Everything one `app bench` found. `hardware` is what must agree for two results to be compared."""

    benchmark_version: int
    made: str
    recipes: tuple[str, ...]
    overrides: tuple[str, ...]
    hardware: Mapping[str, str]
    software: Mapping[str, str]
    state_before: Mapping[str, str]
    state_after: Mapping[str, str]
    noise: Noise
    budget_seconds: float
    used_seconds: float
    measured_peaks: Mapping[str, Figure]
    kernels: tuple[Kernel, ...]
    steps: tuple[Step, ...]
    diagnoses: tuple[Diagnosis, ...]
    skipped: tuple[Skipped, ...]

    @property
    def command(self) -> str:
        """What measures this again."""
        recipes = [f"--recipe {recipe}" for recipe in self.recipes]
        return " ".join(["app bench", *recipes, *self.overrides, f"--budget {self.budget_seconds:.0f}s"])


_ADAPTER = TypeAdapter(Result)
_FIX = "give a bench.json that `app bench` wrote"


def write(result: Result, path: Path) -> None:
    """Keep a result as JSON, whole or not at all."""
    write_bytes(path, _ADAPTER.dump_json(result, indent=1) + b"\n")


def read(path: Path) -> Result:
    """A kept result. Raises DataError where the file is not one."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(Problem(f"no result can be read: {error.strerror}", _FIX, str(path))) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        what = f"this is not a benchmark result: {place}: {first['msg']}"
        raise DataError(Problem(what, _FIX, str(path))) from None


def figures(result: Result) -> dict[str, Figure]:
    """Every figure of a result by one name, for comparing: `matmul bf16 2048x2048x2048 rate`."""
    named = {f"peak {precision}": figure for precision, figure in result.measured_peaks.items()}
    measured: tuple[Kernel | Step, ...] = (*result.kernels, *result.steps)
    for item in measured:
        named |= {f"{item.name} {key}": figure for key, figure in item.figures.items()}
    return named
