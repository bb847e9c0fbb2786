"""The grid of settings in which a recipe's step is timed: every precision, eager and compiled.

Each setting is prepared from the recipe again, and has to pass its correctness gate before it is timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import torch

from app.benchmark.budget import Budget
from app.benchmark.results import Gate
from app.benchmark.steps.peak_memory import PeakMemory
from app.benchmark.steps.prepared import PreparedStep
from app.config import load
from app.data.batch import Batch
from app.errors import WorkspaceError, first_line
from app.finetune.engine.precision import precision_of
from app.finetune.session import Session, prepare
from app.hardware.peaks import PRECISIONS, Precision

# How far a loss may be from float32's, as a share of it: what rounding in a dozen layers explains, and no more.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "tf32": 2e-3, "fp16": 5e-3, "bf16": 2e-2}
Setting = tuple[Precision, bool]  # the precision, and whether the model is compiled
LEAST_STEPS = 6  # of every eager setting there must be time for: a warm-up and a few rounds


@dataclass
class GridPoint:
    """One setting of a recipe: its training step, ready to be timed, and what preparing it showed."""

    precision: Precision
    compiled: bool
    step: PreparedStep
    gate: Gate
    memory: int | None
    """Peak bytes of model, gradients, optimizer and activations. None if the system keeps no count."""
    first_seconds: float
    """Duration of the first step, which includes compilation."""


def prepare_grid(
    session: Session,
    source: str,
    overrides: Sequence[str],
    micro: Sequence[Batch],
    device: torch.device,
    budget: Budget,
) -> dict[Setting, GridPoint]:
    """Prepare eager float32, then the recipe's own setting, then the others as long as there is time.

    Every other loss is compared with float32's; without that one, no setting is prepared.
    `source`: the recipe's name or path; each setting is loaded from it and `overrides` again.
    """
    name = session.recipe.name
    supported = [p for p in PRECISIONS if _is_supported(p, session, budget)]
    own = (session.precision.word, session.recipe.trainer.compile)
    settings: list[Setting] = [("fp32", False), own, *((p, False) for p in supported), *((p, True) for p in supported)]
    points: dict[Setting, GridPoint] = {}
    reference: float | None = None
    last_seconds = 0.0  # that preparing an eager setting took
    for setting in dict.fromkeys(settings):
        precision, compiled = setting
        label = f"{name} {precision} {'compiled' if compiled else 'eager'}"
        if reference is None and setting != settings[0]:
            budget.skip(label, "there is no loss of the eager float32 step to compare it with: no speed is shown")
            continue
        if not budget.allows(label, last_seconds + _seconds_ahead(session, points, compiled)):
            continue
        start = time.monotonic()
        added = [*overrides, f"trainer.precision={precision}", f"trainer.compile={str(compiled).lower()}"]
        try:
            point = prepare_point(source, added, micro, reference, device)
        except torch.cuda.OutOfMemoryError:
            budget.skip(label, "no memory for it next to the settings that it is timed against")
            continue
        except RuntimeError as error:
            budget.skip(label, f"torch could not {'compile' if compiled else 'run'} it: {first_line(error)}")
            continue
        reference = point.gate.loss.value if reference is None else reference
        if not compiled:
            last_seconds = time.monotonic() - start
        if compiled and not runs_compiled(point.step.session):
            budget.skip(label, "torch could not compile the model; the step fell back to eager")
        elif not point.gate.passed:
            budget.skip(label, f"{point.gate.text}: no speed is shown")
        else:
            points[setting] = point
    return points


def _is_supported(precision: Precision, session: Session, budget: Budget) -> bool:
    """Return whether the engine trains in this precision here; if not, record it as skipped."""
    trainer = session.recipe.trainer.model_copy(update={"precision": precision})
    recipe = session.recipe.model_copy(update={"trainer": trainer})
    try:
        precision_of(recipe)
    except WorkspaceError as error:
        budget.skip(f"{session.recipe.name} {precision}", error.problems[0].what)
        return False
    return True


def _seconds_ahead(session: Session, points: Mapping[Setting, GridPoint], compiled: bool) -> float:
    """Estimate the seconds for timing the points so far, and for compiling one more setting if it is compiled."""
    timing = LEAST_STEPS * sum(point.first_seconds for point in points.values() if not point.compiled)
    return timing + (estimated_compile_seconds(session) if compiled else 0.0)


def estimated_compile_seconds(session: Session) -> float:
    """Return an upper estimate of the seconds that compiling a step and its evaluation takes, by the model's size.

    Measured on two cores: 5 s for one layer, 25 to 60 s for transformers of 40 and 110 modules.
    """
    return 5.0 + 0.6 * sum(1 for _ in session.model.modules())


def runs_compiled(session: Session) -> bool:
    """Return whether the model has a compiled form that did not fall back to the model itself."""
    return session.forward is not None and getattr(session.forward, "forward", session.forward) is not session.model


def prepare_point(
    name: str, settings: Sequence[str], micro: Sequence[Batch], reference: float | None, device: torch.device
) -> GridPoint:
    """Prepare one setting, compute its loss, then make the first step. Raises WorkspaceError if the recipe is wrong.

    `reference`: float32's loss; None in the float32 setting itself.
    """
    with PeakMemory(device) as peak, empty_compiler_caches():
        session = prepare(load(name, settings))
        step = PreparedStep(session)
        loss = step.loss(micro)
        start = time.perf_counter()
        step.step(micro)
        synchronize(device)
        first = time.perf_counter() - start
    precision = session.precision.word
    gate = Gate.of(loss, loss if reference is None else reference, TOLERANCE[precision])
    return GridPoint(precision, session.recipe.trainer.compile, step, gate, peak.bytes, first)


@contextmanager
def empty_compiler_caches() -> Iterator[None]:
    """Give inductor and Triton empty caches in the block, so that the first step shows the full cost of compilation.

    The folders stay until the process ends: inductor remembers the path of the C++ header that its first compilation
    wrote, and every later one fails without that file.
    """
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    folder = mkdtemp(dir=_compiler_caches().name)
    os.environ.update({name: str(Path(folder, name.lower())) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@cache
def _compiler_caches() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="bench-compiler-", ignore_cleanup_errors=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
