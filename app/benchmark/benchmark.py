"""The whole benchmark in order: is the machine quiet, what can it do, what do the recipes do, is it still quiet."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from datetime import datetime, timezone

import torch

from app.benchmark import machine, noise
from app.benchmark.budget import Budget
from app.benchmark.kernels.attention_adamw import attention, optimizer
from app.benchmark.kernels.sweep import measure_kernels
from app.benchmark.limits import Limits, best_matmuls
from app.benchmark.results import BENCHMARK_VERSION, Diagnosis, Kernel, Result, Step
from app.benchmark.steps.measure import measure_recipe
from app.benchmark.steps.overhead import WITHOUT_END, loop_overhead
from app.benchmark.steps.prepared import device_of
from app.config import load, shipped_recipes
from app.errors import ConfigError, Problem, WorkspaceError
from app.finetune.session import prepare
from app.schema import Recipe

KERNEL_SHARE = 0.4  # of the time; the rest is the recipes'
CHECK_SECONDS = 1.5
RESERVE = 0.05  # for the last check and for writing
LEAST_SECONDS = 4.0  # to load a recipe and see two of its steps
OVERHEAD_SHARE = 0.15  # of a recipe's time
SHAPES_SHARE = 0.1  # of it, for attention and optimizer at the recipe's own shapes


def run(recipes: Sequence[str], overrides: Sequence[str], budget: Budget) -> Result:
    """Measure the machine and the training steps of `recipes`, or of every shipped one, within the budget.

    The machine's own limits are those of its GPU where a recipe trains on it, else of the CPU. Raises WorkspaceError
    for a recipe that was asked for and cannot run; a shipped one that was not is left out.
    """
    wanted = loaded(recipes, overrides, budget)  # what is misspelt ends here, not after the kernels
    places = [device_of(recipe) for _, recipe in wanted]
    device = next((place for place in places if place.type == "cuda"), places[0])
    limits = Limits.of(device)
    before = machine.state(device)
    checks = [_check(device, budget)]
    say(f"measuring {machine.device_name(device)}: products, memory, attention, optimizer")
    kernels = measure_kernels(device, limits, budget.part(KERNEL_SHARE * budget.left))
    with budget.guard("self-check after the kernels"):
        checks.append(_check(device, budget))
    steps: list[Step] = []
    diagnoses: list[Diagnosis] = []
    for done, ((name, _), place) in enumerate(zip(wanted, places)):
        if not budget.allows(name, LEAST_SECONDS):
            continue
        share = budget.part((budget.left - RESERVE * budget.seconds) / (len(wanted) - done))
        its_limits = limits if place == device else Limits.unmeasured(place)
        try:
            with budget.guard(name):
                beside, found, diagnosis = _recipe(name, overrides, its_limits, share, its_shapes=bool(recipes))
                kernels += beside
                steps += found
                diagnoses += [diagnosis] if diagnosis else []
        except WorkspaceError as error:
            if recipes:
                raise
            budget.skip(name, error.problems[0].what)
        gc.collect()  # a Trainer and its module hold each other, and with them a model and its optimizer
    with budget.guard("self-check at the end"):
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


def loaded(recipes: Sequence[str], overrides: Sequence[str], budget: Budget) -> list[tuple[str, Recipe]]:
    """`recipes` by name, or those of the shipped ones that the overrides fit.

    Raises ConfigError, with every problem, for one that was asked for and where none is left.
    """
    found: list[tuple[str, Recipe]] = []
    problems: list[Problem] = []
    for name in recipes or shipped_recipes():
        try:
            recipe = load(name, overrides)
            device_of(recipe)
            found.append((name, recipe))
        except WorkspaceError as error:
            problems += error.problems
            if not recipes:
                budget.skip(name, error.problems[0].what)
    if problems and (recipes or not found):
        raise ConfigError(*dict.fromkeys(problems))
    return found


def say(text: str) -> None:
    """One line of progress."""
    print(text, file=sys.stderr, flush=True)


def _check(device: torch.device, budget: Budget) -> noise.Check:
    return noise.check(device, min(CHECK_SECONDS, 0.03 * budget.seconds))


def _recipe(
    name: str, overrides: Sequence[str], limits: Limits, budget: Budget, its_shapes: bool
) -> tuple[list[Kernel], list[Step], Diagnosis | None]:
    """One recipe: its loading, with `its_shapes` kernels at its own, the loop's overhead, its steps, its diagnosis."""
    say(f"measuring the step of {name}")
    for_overhead, for_shapes = OVERHEAD_SHARE * budget.left, SHAPES_SHARE * budget.left if its_shapes else 0.0
    steps_budget = budget.part(budget.left - for_overhead - for_shapes)
    measured = measure_recipe(name, overrides, limits.device, limits, steps_budget)
    gc.collect()  # its models are not needed any more, and the next ones want their memory
    beside = [measured.loading]
    if its_shapes and measured.heads:
        beside += attention([measured.heads], limits, budget, for_shapes / 2)
        beside += optimizer(f"AdamW {measured.heads.model}", measured.sizes, limits, budget, for_shapes / 2)
    # Blocks of both loops: two of each make the first difference, after one to warm up.
    if measured.steps and budget.allows(f"loop {name}", 30 * measured.steps[0].work.seconds):
        with budget.guard(f"loop {name}"):
            session = prepare(load(name, [*overrides, *WITHOUT_END]))
            beside.append(loop_overhead(session, min(for_overhead, budget.left)))
    return beside, measured.steps, measured.diagnosis
