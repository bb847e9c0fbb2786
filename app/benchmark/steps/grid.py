"""The settings in which a recipe's step is timed: each prepared anew, and behind its correctness gate."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import torch

from app.benchmark.budget import Budget
from app.benchmark.results import Gate, gate
from app.benchmark.steps.figures import gate_text
from app.benchmark.steps.peak_memory import PeakMemory
from app.benchmark.steps.prepared import PreparedStep
from app.config import load
from app.data.batch import Batch
from app.errors import WorkspaceError, first_line
from app.finetune.engine.precision import precision_of
from app.finetune.session import Session, prepare
from app.hardware.peaks import PRECISIONS, Precision

# Relative distance of the loss from float32's that a precision explains: its rounding over a dozen layers, no more.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "tf32": 2e-3, "fp16": 5e-3, "bf16": 2e-2}
Setting = tuple[Precision, bool]  # and whether it is compiled
STEPS_A_CELL = 6  # steps for which there must be time for a setting to be timed at all: warm-up and a few rounds


@dataclass
class Cell:
    """One setting of the recipe, ready to be timed."""

    precision: Precision
    compiled: bool
    loop: PreparedStep
    gate: Gate
    memory: int | None
    """Bytes, model, gradients and optimizer included."""
    first_seconds: float
    """The first step, which compiles."""


def build_cells(
    session: Session,
    asked: tuple[str, Sequence[str]],
    micro: Sequence[Batch],
    own: Setting,
    device: torch.device,
    budget: Budget,
) -> dict[Setting, Cell]:
    """Prepare float32 for its loss, then the recipe's own setting, then the others while there is time.

    Without float32's loss there is nothing to hold another's to, and no setting is timed.
    `asked`: the recipe's name or path and the overrides, from which each setting is loaded anew.
    """
    name, (source, overrides) = session.recipe.name, asked
    possible = [p for p in PRECISIONS if _is_possible(p, session, budget)]
    wanted = [("fp32", False), own, *((p, False) for p in possible), *((p, True) for p in possible)]
    cells: dict[Setting, Cell] = {}
    reference: float | None = None
    built = 0.0
    for precision, compiled in dict.fromkeys(wanted):
        label = f"{name} {precision} {'compiled' if compiled else 'eager'}"
        if reference is None and (precision, compiled) != wanted[0]:
            budget.skip(label, "there is no loss of the eager float32 step to hold it to: no speed is printed")
            continue
        timing = STEPS_A_CELL * sum(cell.first_seconds for cell in cells.values() if not cell.compiled)
        compiling = compile_estimate(session) if compiled else 0.0
        if not budget.allows(label, timing + built + compiling):
            continue
        start = time.monotonic()
        settings = [f"trainer.precision={precision}", f"trainer.compile={str(compiled).lower()}"]
        try:
            cell = build_cell(source, [*overrides, *settings], micro, reference, device)
        except torch.cuda.OutOfMemoryError:
            budget.skip(label, "no memory for it beside the settings that it is timed against")
            continue
        except RuntimeError as error:
            budget.skip(label, f"torch could not {'compile' if compiled else 'run'} it: {first_line(error)}")
            continue
        reference = cell.gate.loss.value if reference is None else reference
        if not compiled:
            built = time.monotonic() - start
        if compiled and not really_compiled(cell.loop.session):
            budget.skip(label, "torch could not compile the model; the step fell back to eager")
        elif not cell.gate.passed:
            budget.skip(label, f"{gate_text(cell.gate)}: no speed is printed")
        else:
            cells[precision, compiled] = cell
    return cells


def _is_possible(precision: Precision, session: Session, budget: Budget) -> bool:
    """Whether the engine runs this precision here; notes its reason where not."""
    trainer = session.recipe.trainer.model_copy(update={"precision": precision})
    recipe = session.recipe.model_copy(update={"trainer": trainer})
    try:
        precision_of(recipe)
    except WorkspaceError as error:
        budget.skip(f"{session.recipe.name} {precision}", error.problems[0].what)
        return False
    return True


def really_compiled(session: Session) -> bool:
    """Whether the model has a compiled form that has not fallen back to the model itself."""
    return session.forward is not None and getattr(session.forward, "forward", session.forward) is not session.model


def compile_estimate(session: Session) -> float:
    """Seconds that compiling a step and its evaluation may take, by the size of the model: an upper guess.

    Seen on two cores: 5 s for one layer, 25 to 60 s for transformers of 40 and 110 modules.
    """
    return 5.0 + 0.6 * sum(1 for _ in session.model.modules())


def build_cell(
    name: str, settings: Sequence[str], micro: Sequence[Batch], reference: float | None, device: torch.device
) -> Cell:
    """Prepare one setting, take its loss before any step, and make the first step. Raises WorkspaceError."""
    with PeakMemory(device) as peak, empty_compiler_caches():
        session = prepare(load(name, settings))
        loop = PreparedStep(session)
        loss = loop.loss(micro)
        start = time.perf_counter()
        loop.step(micro)
        wait_for(device)
        first = time.perf_counter() - start
    precision = session.precision.word
    held = gate(loss, loss if reference is None else reference, TOLERANCE[precision])
    return Cell(precision, session.recipe.trainer.compile, loop, held, peak.bytes, first)


@contextmanager
def empty_compiler_caches() -> Iterator[None]:
    """Inductor and Triton find nothing of earlier runs, so that what compiling costs is all of it.

    The folders stay until the process ends: inductor remembers where the first compilation put its C++ header, and
    without it every later one fails.
    """
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
    before = {name: os.environ.get(name) for name in names}
    folder = mkdtemp(dir=_compiled().name)
    os.environ.update({name: str(Path(folder, name.lower())) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@cache
def _compiled() -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix="bench-compiler-", ignore_cleanup_errors=True)


def wait_for(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
