"""The result of a benchmark: figures with unit, limit and spread, and the JSON file that holds them.

`bench.json` is one `BenchmarkResult`. `BENCHMARK_VERSION` goes up whenever a figure starts to mean something else, so
that `app bench compare` never compares two different things. Every number in the file is in a `Figure`, except for the
version itself and the seconds that the benchmark was given and took.
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
from app.fileio import write_text

BENCHMARK_VERSION = 2


@dataclass(frozen=True)
class Kernel:
    """One kernel at one shape. The tables show its `figures`; the roofline is drawn from its `work`."""

    name: str
    group: Literal["matmul", "memory", "transfer", "attention", "optimizer", "data", "loop", "trainer"]
    precision: str
    shape: str
    figures: Mapping[str, Figure]
    work: Work


@dataclass(frozen=True)
class Gate:
    """A correctness gate: whether a step's loss agrees with that of the eager float32 step."""

    loss: Figure
    """Its limit is float32's loss."""
    away: Figure
    """Distance from float32's loss, in % of it. Its limit is the largest distance allowed."""

    @classmethod
    def of(cls, loss: float, reference: float, tolerance: float) -> Gate:
        """Return the gate |loss - reference| <= tolerance * |reference|; `reference` is float32's loss."""
        away = abs(loss - reference) / max(abs(reference), 1e-6)
        allowed = Limit(100 * tolerance, "what the precision's rounding explains", ceiling=True)
        eager = Limit(reference, "the eager float32 step's, on the same batch")
        return cls(single(loss, "mean loss", eager), single(100 * away, "%", allowed))

    @property
    def passed(self) -> bool:
        return self.away.limit.value is not None and self.away.value <= self.away.limit.value

    @property
    def text(self) -> str:
        """Both losses, their distance and the distance allowed, as a phrase."""
        losses = f"loss {self.loss.value:.6g} against {self.loss.limit.value:.6g} in float32"
        return f"{losses}: {self.away.value:.2g}% away, {self.away.limit.value:.2g}% allowed"


@dataclass(frozen=True)
class TrainingStep:
    """One recipe's training step in one precision, eager or compiled.

    The operations of `work` are the model's own on useful tokens. Its traffic counts the inputs and outputs of every
    operator once, as eager PyTorch moves them, which for a compiled step is an upper bound. `operators`: those that the
    eager step dispatches.
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
class TimeShare:
    """The share of a step's time, its wait for data included, that has one cause; in %."""

    bound: Literal["compute", "memory", "launch", "input", "padding"]
    share: Figure


@dataclass(frozen=True)
class Lever:
    """A setting to change, and how many times as fast the step then is: measured, or an upper bound, not shown."""

    what: str
    gain: Figure
    measured: bool


@dataclass(frozen=True)
class Diagnosis:
    """What bounds a recipe's step, and which settings would make it faster."""

    step: str
    parts: tuple[TimeShare, ...]
    levers: tuple[Lever, ...]
    sentence: str


@dataclass(frozen=True)
class Skipped:
    """Something that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Noise:
    """How much the machine disturbs a measurement of one call against itself, in %. 0 is best; above its limit a figure
    is not believed.

    Each is the worst of `n` samples, spread from the best to the worst. ratio: distance from 1 of the medians of the
    same call timed as A and B in turns. spread: 10th to 90th percentile over the median. drift: the same call at the
    start and at the end. waited: share of the time in which a thread of this process was ready and did not run.
    stolen: share of the machine's time that the hypervisor gave to others. None if the kernel keeps no count.
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
        """The noise as a share: a smaller difference between two results means nothing."""
        return max(self.ratio.value, self.drift.value) / 100


@dataclass(frozen=True)
class BenchmarkResult:
    """Everything that one `app bench` measured. Two results can be compared if their `hardware` agrees."""

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
    steps: tuple[TrainingStep, ...]
    diagnoses: tuple[Diagnosis, ...]
    skipped: tuple[Skipped, ...]

    @property
    def command(self) -> str:
        """The command that measures this again."""
        recipes = [f"--recipe {recipe}" for recipe in self.recipes]
        return " ".join(["app bench", *recipes, *self.overrides, f"--budget {self.budget_seconds:.0f}s"])


_ADAPTER = TypeAdapter(BenchmarkResult)
_FIX = "give a bench.json that `app bench` wrote"


def as_json(result: BenchmarkResult) -> str:
    """Return a result as the JSON that `read` reads."""
    return _ADAPTER.dump_json(result, indent=1).decode() + "\n"


def write(result: BenchmarkResult, path: Path) -> None:
    """Write a result as JSON, atomically."""
    write_text(path, as_json(result))


def read(path: Path) -> BenchmarkResult:
    """Return the result in a file. Raises DataError if it cannot be read, or is not a result of this version."""
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(Problem(f"no result can be read: {error.strerror}", _FIX, str(path))) from None
    except ValidationError as error:
        if (version := _version_of(path)) not in (None, BENCHMARK_VERSION):
            what = f"the result is of benchmark version {version}; this version, {BENCHMARK_VERSION}, cannot read it"
            raise DataError(Problem(what, "measure again: app bench", str(path))) from None
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        what = f"this is not a benchmark result: {field}: {first['msg']}"
        raise DataError(Problem(what, _FIX, str(path))) from None


def _version_of(path: Path) -> int | None:
    """Return the `benchmark_version` in a JSON file, whatever else is in it; None if it has none."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    version = content.get("benchmark_version") if isinstance(content, dict) else None
    return version if isinstance(version, int) else None


def named_figures(result: BenchmarkResult) -> dict[str, Figure]:
    """Return every figure of a result by a unique name, such as `matmul bf16 2048x2048x2048 rate`."""
    named = {f"peak {precision}": figure for precision, figure in result.measured_peaks.items()}
    measured: tuple[Kernel | TrainingStep, ...] = (*result.kernels, *result.steps)
    for item in measured:
        named |= {f"{item.name} {key}": figure for key, figure in item.figures.items()}
    return named
