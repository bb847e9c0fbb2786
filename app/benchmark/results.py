"""What a benchmark leaves behind: figures with unit, limit and spread, and the file they are kept in.

`bench.json` is one `Result`. `BENCHMARK_VERSION` goes up whenever a figure starts to mean something else, so that
`app bench compare` never sets two different things side by side. Every number in the file is in a `Figure`, but for the
version itself and the seconds that the run was given and took.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from app.benchmark.figure import Figure, Limit, Work, single
from app.errors import DataError, Problem
from app.fileio import write_bytes

BENCHMARK_VERSION = 2


@dataclass(frozen=True)
class Kernel:
    """One kernel at one shape. `figures` is what is shown of it; its work is what the roofline is drawn from."""

    name: str
    group: Literal["matmul", "memory", "transfer", "attention", "optimizer", "data", "loop", "trainer"]
    precision: str
    shape: str
    figures: Mapping[str, Figure]
    work: Work


@dataclass(frozen=True)
class Gate:
    """Whether a step's loss agrees with float32's, which is the limit of `loss`; `away` is by how much of it, in %, and
    its limit what is allowed."""

    loss: Figure
    away: Figure

    @property
    def passed(self) -> bool:
        return self.away.limit.value is not None and self.away.value <= self.away.limit.value


def gate(loss: float, reference: float, tolerance: float) -> Gate:
    """Hold a loss to float32's: |loss - reference| <= tolerance * |reference|."""
    away = abs(loss - reference) / max(abs(reference), 1e-6)
    allowed = Limit(100 * tolerance, "what the precision's rounding explains", ceiling=True)
    eager = Limit(reference, "the eager float32 step's, on the same batch")
    return Gate(single(loss, "mean loss", eager), single(100 * away, "%", allowed))


@dataclass(frozen=True)
class Step:
    """One recipe's training step in one precision, eager or compiled.

    The operations of `work` are the model's own on useful tokens; its bytes are every operator's inputs and outputs
    once, as eager PyTorch moves them: of a compiled step no more than an upper bound. `operators`: those dispatched.
    """

    recipe: str
    precision: str
    compiled: bool
    gate: Gate
    figures: Mapping[str, Figure]
    work: Work
    operators: Figure | None

    @property
    def name(self) -> str:
        return f"{self.recipe} {self.precision} {'compiled' if self.compiled else 'eager'}"


@dataclass(frozen=True)
class Part:
    """What goes one way of the time of a step with its wait for data, in %."""

    bound: Literal["compute", "memory", "launch", "input", "padding"]
    share: Figure


@dataclass(frozen=True)
class Lever:
    """Something to change, and how many times faster the step is then expected to be (`measured`: was seen to be)."""

    what: str
    gain: Figure
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
    """What the machine does to a measurement of one thing against itself, in %: 0 is best, the limit what is believed.

    Each is the worst of `n` checks, spread from the best to the worst. ratio: medians of the same call timed as A and B
    in turns, as distance from 1. spread: p10 to p90 over the median. drift: the same call at the start and at the end.
    waited: part of the time in which a thread of ours could run and was not let (None where the kernel does not say).
    stolen: part of the machine's time the hypervisor gave to others.
    """

    ratio: Figure
    spread: Figure
    drift: Figure
    waited: Figure | None
    stolen: Figure | None
    reasons: tuple[str, ...] = ()

    @property
    def quiet(self) -> bool:
        return not self.reasons

    @property
    def level(self) -> float:
        """A difference between two runs that is a smaller share than this means nothing."""
        return max(self.ratio.value, self.drift.value) / 100


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
        if (version := _version_of(path)) not in (None, BENCHMARK_VERSION):
            what = f"the result is of benchmark version {version}; this version, {BENCHMARK_VERSION}, cannot read it"
            raise DataError(Problem(what, "measure again: app bench", str(path))) from None
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        what = f"this is not a benchmark result: {place}: {first['msg']}"
        raise DataError(Problem(what, _FIX, str(path))) from None


def _version_of(path: Path) -> int | None:
    """The version that a file says it is of, whatever else is in it."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return None
    version = found.get("benchmark_version") if isinstance(found, dict) else None
    return version if isinstance(version, int) else None


def figures(result: Result) -> dict[str, Figure]:
    """Every figure of a result by one name, for comparing: `matmul bf16 2048x2048x2048 rate`."""
    named = {f"peak {precision}": figure for precision, figure in result.measured_peaks.items()}
    measured: tuple[Kernel | Step, ...] = (*result.kernels, *result.steps)
    for item in measured:
        named |= {f"{item.name} {key}": figure for key, figure in item.figures.items()}
    return named
