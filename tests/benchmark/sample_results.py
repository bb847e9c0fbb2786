"""Results written by hand, so that a test knows what is computed from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from app.benchmark.figure import Figure, Limit, Work, counted, single
from app.benchmark.limits import Limits
from app.benchmark.results import (
    BENCHMARK_VERSION,
    BenchmarkResult,
    Diagnosis,
    Gate,
    Kernel,
    Lever,
    Noise,
    Skipped,
    TimeShare,
    TrainingStep,
)

CPU = torch.device("cpu")
UNKNOWN = Limit(None, "a CPU has no datasheet rate")


def percent(value: float, most: float) -> Figure:
    return Figure(value, "%", 0.5 * value, value, 3, Limit(most, "the most to believe", ceiling=True), "lower")


QUIET = Noise(percent(0.4, 3), percent(3, 20), percent(1, 5), percent(0.1, 5), percent(0, 5))


def figure(value: float = 100.0, unit: str = "GFLOP/s", spread: float = 0.02, n: int = 50) -> Figure:
    low, high = value * (1 - spread / 2), value * (1 + spread / 2)
    return Figure(value, unit, low, high, n, UNKNOWN, "higher")


def milliseconds(value: float, spread: float = 0.02, n: int = 50) -> Figure:
    limit = Limit(0.8 * value, "useful operations at the bf16 matmul rate measured here")
    return Figure(value, "ms", value * (1 - spread / 2), value * (1 + spread / 2), n, limit, "lower")


def work(seconds: float, flops: float, moved: float) -> Work:
    """Return the work of a step or kernel that takes `seconds`."""
    return Work(milliseconds(seconds * 1e3), counted(flops, "FLOP", "by hand"), counted(moved, "B", "by hand"))


def step(
    precision: str = "bf16",
    compiled: bool = False,
    seconds: float = 0.05,
    recipe: str = "sentiment",
    moved: float = 1e9,
) -> TrainingStep:
    return TrainingStep(
        recipe=recipe,
        precision=precision,
        compiled=compiled,
        gate=Gate.of(0.7001, 0.7, 0.02),
        figures={"time": milliseconds(seconds * 1e3)},
        work=work(seconds, 4e9, moved),
        operators=counted(500, "operators", "by hand"),
    )


def result(rate: float = 100.0) -> BenchmarkResult:
    cube = "2048x2048x2048"
    kernels = (
        Kernel(f"matmul fp32 {cube}", "matmul", "fp32", "cube", {"rate": figure(rate)}, work(0.17, 17e9, 50e6)),
        Kernel(f"matmul bf16 {cube}", "matmul", "bf16", "cube", {"rate": figure(3 * rate)}, work(0.06, 17e9, 25e6)),
        Kernel("memory triad", "memory", "fp32", "3 arrays", {"bandwidth": figure(24, "GB/s")}, work(0.03, 1.3e8, 8e8)),
    )
    own = step()
    diagnosis = Diagnosis(
        step=own.name,
        parts=(TimeShare("compute", percent(60, 100)), TimeShare("memory", percent(30, 100))),
        levers=(Lever("trainer.compile=true", single(1.2, "times as fast", UNKNOWN, "higher"), False),),
        sentence=f"{own.name} is compute-bound: 60% of the time are matrix products on useful tokens.",
    )
    return BenchmarkResult(
        benchmark_version=BENCHMARK_VERSION,
        made="2026-11-22T03:00:00+00:00",
        recipes=("sentiment",),
        overrides=("trainer.batch_size=8",),
        hardware={"device": "A Processor <with & signs>", "threads": "2"},
        software={"torch": "2.0.1"},
        state_before={"load": "0.1"},
        state_after={"load": "1.9"},
        noise=QUIET,
        budget_seconds=60.0,
        used_seconds=58.0,
        measured_peaks={"fp32": figure(rate), "bf16": figure(3 * rate)},
        kernels=kernels,
        steps=(own, step("fp32", seconds=0.11), step(compiled=True, seconds=0.04)),
        diagnoses=(diagnosis,),
        skipped=(Skipped("matmul tf32", "only GPUs from Ampere on | multiply in tf32"),),
    )


def cpu_limits() -> Limits:
    """Return the limits of a CPU with 100 GFLOP/s in float32, 400 in bf16, and 20 GB/s."""
    return Limits(CPU, None, "a CPU", {"fp32": 1e11, "bf16": 4e11}, 2e10)


def noisy(quiet: BenchmarkResult) -> BenchmarkResult:
    """Return the same result, measured on a noisy machine."""
    reasons = ("the same call timed twice in turns differs: 9.0%",)
    return replace(quiet, noise=replace(QUIET, ratio=percent(9, 3), reasons=reasons))


FIGURE = {"value", "unit", "low", "high", "n", "limit", "better"}


def bare_numbers(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the numbers in JSON that are not in a figure; check the figures on the way."""
    if isinstance(content, dict) and content.keys() == FIGURE:
        assert content["unit"] and content["limit"]["source"]
        assert content["low"] <= content["value"] <= content["high"]
    elif isinstance(content, (dict, list)):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, item in items:
            yield from bare_numbers(item, (*path, str(key)))
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield path
