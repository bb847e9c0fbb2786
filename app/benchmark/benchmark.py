"""The whole benchmark in order: is the machine quiet, what can it do, what do the recipes do, is it still quiet."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from datetime import datetime, timezone

import torch

from app.benchmark import machine, noise
from app.benchmark.budget import Budget
from app.benchmark.kernels import measure_kernels
from app.benchmark.limits import Limits, best_matmuls
from app.benchmark.overhead import lightning_overhead
from app.benchmark.results import BENCHMARK_VERSION, Diagnosis, Kernel, Result, Step
from app.benchmark.steps import measure_recipe
from app.config import load, shipped_recipes
from app.errors import WorkspaceError
from app.finetune.session import prepare

KERNEL_SHARE = 0.4  # of the time; the rest is the recipes'
CHECK_SECONDS = 1.5
RESERVE = 0.05  # for the last check and for writing
LEAST_SECONDS = 4.0  # to load a recipe and see two of its steps
OVERHEAD_SHARE = 0.15  # of a recipe's time
MANY_EPOCHS = "trainer.max_epochs=1000000"  # the overhead ends by time, not by the recipe's length


def run(recipes: Sequence[str], overrides: Sequence[str], budget: Budget) -> Result:
    """Measure the machine and the training steps of `recipes`, or of every shipped one, within the budget.

    Raises WorkspaceError for a recipe that was asked for and cannot run; a shipped one that was not is left out.
    """
    for recipe in recipes:
        load(recipe, overrides)  # a misspelt name ends here, not after the kernels
    device = torch.device("cpu") if "trainer.accelerator=cpu" in overrides else machine.pick_device()
    limits = Limits.of(device)
    before = machine.state(device)
    checks = [_check(device, budget)]
    say(f"measuring {machine.device_name(device)}: products, memory, attention, optimizer")
    kernels = measure_kernels(device, limits, budget.part(KERNEL_SHARE * budget.left))
    checks.append(_check(device, budget))
    steps: list[Step] = []
    diagnoses: list[Diagnosis] = []
    wanted = list(recipes) or shipped_recipes()
    for place, recipe in enumerate(wanted):
        if not budget.allows(recipe, LEAST_SECONDS):
            continue
        share = budget.part((budget.left - RESERVE * budget.seconds) / (len(wanted) - place))
        try:
            beside, found, diagnosis = _recipe(recipe, overrides, device, limits, share)
        except WorkspaceError as error:
            if recipes:
                raise
            budget.skip(recipe, error.problems[0].what)
            continue
        gc.collect()  # a Trainer and its module hold each other, and with them a model and its optimizer
        kernels += beside
        steps += found
        diagnoses += [diagnosis] if diagnosis else []
    checks.append(_check(device, budget))
    return Result(
        benchmark_version=BENCHMARK_VERSION,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipes=tuple(recipes),
        overrides=tuple(overrides),
        hardware=machine.hardware(device),
        software=machine.software(device),
        state_before=before,
        state_after=machine.state(device),
        noise=noise.judge(checks),
        budget_seconds=budget.seconds,
        used_seconds=budget.used,
        measured_peaks=best_matmuls(kernels),
        kernels=tuple(kernels),
        steps=tuple(steps),
        diagnoses=tuple(diagnoses),
        skipped=tuple(budget.skipped),
    )


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def _check(device: torch.device, budget: Budget) -> noise.Check:
    return noise.check(device, min(CHECK_SECONDS, 0.03 * budget.seconds))


def _recipe(
    recipe: str, overrides: Sequence[str], device: torch.device, limits: Limits, budget: Budget
) -> tuple[list[Kernel], list[Step], Diagnosis | None]:
    """One recipe: its loading and Lightning's overhead, its steps, its diagnosis."""
    say(f"measuring the step of {recipe}")
    for_overhead = OVERHEAD_SHARE * budget.left
    measured = measure_recipe(recipe, overrides, device, limits, budget.part(budget.left - for_overhead))
    beside = [measured.loading]
    # Blocks of both loops: two of each make the first difference, after one to warm up.
    if measured.steps and budget.allows(f"trainer {recipe}", 30 * measured.steps[0].seconds):
        session = prepare(load(recipe, [*overrides, MANY_EPOCHS]))
        beside.append(lightning_overhead(session, device, min(for_overhead, budget.left)))
    return beside, measured.steps, measured.diagnosis
