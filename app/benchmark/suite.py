"""The whole benchmark, in order: a noise check, the machine's kernels, the recipes' steps, a noise check again."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from datetime import datetime, timezone

import torch

from app.benchmark import machine, noise
from app.benchmark.budget import Budget
from app.benchmark.kernels import matmul, memory
from app.benchmark.kernels.attention import attention_shapes, measure_attention
from app.benchmark.kernels.optimizer import measure_adamw, typical_sizes
from app.benchmark.limits import Limits, best_matmuls
from app.benchmark.results import BENCHMARK_VERSION, BenchmarkResult, Diagnosis, Kernel, TrainingStep
from app.benchmark.steps.overhead import WITHOUT_END, loop_overhead
from app.benchmark.steps.prepared import device_of
from app.benchmark.steps.recipe import measure_recipe
from app.config import load, shipped_recipes
from app.errors import ConfigError, Problem, WorkspaceError
from app.finetune.session import prepare
from app.schema import Recipe

NOISE_SECONDS = 1.5  # at most, for each of the three samples
RESERVE = 0.05  # share of the budget for the last noise sample and for writing
LEAST_SECONDS = 4.0  # to load a recipe and time two of its steps
KERNELS_SHARE = 0.4  # of the budget; the recipes have the rest
# Shares of the kernels' time. Matmuls have the most shapes, and every MFU depends on them. The sum is below 1, because
# inputs are made as well, and an overrun must not leave the last ones without time.
KERNEL_SHARES = {"matmul": 0.45, "memory": 0.12, "transfer": 0.05, "attention": 0.12, "optimizer": 0.08}
OVERHEAD_SHARE = 0.15  # of a recipe's time
SHAPES_SHARE = 0.1  # of a recipe's time, for attention and optimizer at the recipe's own shapes


def run(recipes: Sequence[str], overrides: Sequence[str], budget: Budget) -> BenchmarkResult:
    """Return the measurements of the machine and of the training steps of `recipes`, or of every shipped recipe.

    The machine's kernels are measured on the GPU if any recipe trains there, else on the CPU. Raises WorkspaceError if
    a recipe in `recipes` cannot run. If they are the shipped ones, a recipe that cannot run is skipped.
    """
    loaded = load_recipes(recipes, overrides, budget)  # a misspelt name ends the benchmark here, not after the kernels
    devices = [device_of(recipe) for _, recipe in loaded]
    device = next((d for d in devices if d.type == "cuda"), devices[0])
    before = machine.state(device)
    samples = [_noise_sample(device, budget)]
    print_progress(f"measuring {machine.device_name(device)}: products, memory, attention, optimizer")
    limits, kernels = measure_kernels(device, budget.part(KERNELS_SHARE * budget.left))
    with budget.guard("self-check after the kernels"):
        samples.append(_noise_sample(device, budget))
    steps: list[TrainingStep] = []
    diagnoses: list[Diagnosis] = []
    for done, ((name, _), its_device) in enumerate(zip(loaded, devices)):
        if not budget.allows(name, LEAST_SECONDS):
            continue
        share = budget.part((budget.left - RESERVE * budget.seconds) / (len(loaded) - done))
        its_limits = limits if its_device == device else Limits.unmeasured(its_device)
        try:
            with budget.guard(name):
                its_kernels, its_steps, diagnosis = _run_recipe(name, overrides, its_limits, share, bool(recipes))
                kernels += its_kernels
                steps += its_steps
                diagnoses += [diagnosis] if diagnosis else []
        except WorkspaceError as error:
            if recipes:
                raise
            budget.skip(name, error.problems[0].what)
        gc.collect()  # Trainer and module are a reference cycle, which would keep the model and its optimizer alive
    with budget.guard("self-check at the end"):
        samples.append(_noise_sample(device, budget))
    return BenchmarkResult(
        benchmark_version=BENCHMARK_VERSION,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipes=tuple(recipes),
        overrides=tuple(overrides),
        hardware=machine.hardware(device),
        software=machine.software(device),
        state_before=before,
        state_after=machine.state(device),
        noise=noise.assess(samples),
        budget_seconds=budget.seconds,
        used_seconds=budget.used,
        measured_peaks=best_matmuls(kernels),
        kernels=tuple(kernels),
        steps=tuple(steps),
        diagnoses=tuple(diagnoses),
        skipped=tuple(budget.skipped),
    )


def load_recipes(recipes: Sequence[str], overrides: Sequence[str], budget: Budget) -> list[tuple[str, Recipe]]:
    """Return name and recipe of each of `recipes`, or of the shipped ones that the overrides fit.

    Raises ConfigError, with every problem, if one of `recipes` is wrong or if the overrides fit no shipped recipe.
    """
    loaded: list[tuple[str, Recipe]] = []
    problems: list[Problem] = []
    for name in recipes or shipped_recipes():
        try:
            recipe = load(name, overrides)
            device_of(recipe)
            loaded.append((name, recipe))
        except WorkspaceError as error:
            problems += error.problems
            if not recipes:
                budget.skip(name, error.problems[0].what)
    if problems and (recipes or not loaded):
        raise ConfigError(*dict.fromkeys(problems))
    return loaded


def measure_kernels(device: torch.device, budget: Budget) -> tuple[Limits, list[Kernel]]:
    """Measure the device's kernels within the budget; return its limits, with the measured ones, and the kernels.

    Matmuls and memory come first, because the other kernels are compared with them.
    """
    seconds = {kind: share * budget.left for kind, share in KERNEL_SHARES.items()}
    datasheet = Limits.of(device)
    kernels = matmul.sweep(device, datasheet, budget, seconds["matmul"])
    with budget.guard("memory bandwidth"):
        kernels += memory.bandwidth(device, datasheet, budget, seconds["memory"])
    limits = datasheet.with_measured(kernels)
    with budget.guard("transfer between host and device"):
        kernels += memory.transfers(device, budget, seconds["transfer"])
    kernels += measure_attention(attention_shapes(device), limits, budget, seconds["attention"])
    kernels += measure_adamw("AdamW", typical_sizes(device), limits, budget, seconds["optimizer"])
    return limits, kernels


def print_progress(text: str) -> None:
    """Print one line of progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def _noise_sample(device: torch.device, budget: Budget) -> noise.NoiseSample:
    return noise.sample(device, min(NOISE_SECONDS, 0.03 * budget.seconds))


def _run_recipe(
    name: str, overrides: Sequence[str], limits: Limits, budget: Budget, at_its_shapes: bool
) -> tuple[list[Kernel], list[TrainingStep], Diagnosis | None]:
    """Measure one recipe: its loading, its steps and the loop's overhead; return kernels, steps and diagnosis.

    `at_its_shapes`: also attention and optimizer at the shapes of the recipe's model.
    """
    print_progress(f"measuring the step of {name}")
    for_overhead, for_shapes = OVERHEAD_SHARE * budget.left, SHAPES_SHARE * budget.left if at_its_shapes else 0.0
    steps_budget = budget.part(budget.left - for_overhead - for_shapes)
    measured = measure_recipe(name, overrides, limits, steps_budget)
    gc.collect()  # free its models, whose memory the next ones need
    kernels = [measured.loading]
    if at_its_shapes and measured.attention:
        kernels += measure_attention([measured.attention], limits, budget, for_shapes / 2)
        kernels += measure_adamw(f"AdamW {measured.attention.model}", measured.sizes, limits, budget, for_shapes / 2)
    # The overhead takes a dozen steps at least, and a training is prepared and warmed up before.
    if measured.steps and budget.allows(f"loop {name}", 30 * measured.steps[0].work.seconds):
        with budget.guard(f"loop {name}"):
            session = prepare(load(name, [*overrides, *WITHOUT_END]))
            kernels.append(loop_overhead(session, min(for_overhead, budget.left)))
    return kernels, measured.steps, measured.diagnosis
