"""Results made by hand, so that what is computed from them is known."""

from __future__ import annotations

from dataclasses import replace

from app.benchmark.results import (
    BENCHMARK_VERSION,
    Diagnosis,
    Figure,
    Gate,
    Kernel,
    Lever,
    Limit,
    Noise,
    Part,
    Result,
    Skipped,
    Step,
)

QUIET = Noise(ratio=0.004, spread=0.03, drift=0.01, waited=0.001, stolen=0.0)
UNKNOWN = Limit(None, "a CPU has no datasheet rate")


def figure(value: float = 100.0, unit: str = "GFLOP/s", spread: float = 0.02, n: int = 50) -> Figure:
    low, high = value * (1 - spread / 2), value * (1 + spread / 2)
    return Figure(value, unit, low, high, n, UNKNOWN, "higher")


def milliseconds(value: float, spread: float = 0.02, n: int = 50) -> Figure:
    limit = Limit(0.8 * value, "useful operations at the bf16 matmul rate measured here")
    return Figure(value, "ms", value * (1 - spread / 2), value * (1 + spread / 2), n, limit, "lower")


def step(precision: str = "bf16", compiled: bool = False, seconds: float = 0.05, recipe: str = "sentiment") -> Step:
    return Step(
        recipe=recipe,
        precision=precision,
        compiled=compiled,
        gate=Gate(0.7001, 0.7, 0.02),
        figures={"time": milliseconds(seconds * 1e3)},
        seconds=seconds,
        flops=4e9,
        bytes=1e9,
        operators=500,
    )


def result(rate: float = 100.0) -> Result:
    kernels = (
        Kernel("matmul fp32 2048x2048x2048", "matmul", "fp32", "cube", {"rate": figure(rate)}, 0.17, 17e9, 50e6),
        Kernel("matmul bf16 2048x2048x2048", "matmul", "bf16", "cube", {"rate": figure(3 * rate)}, 0.06, 17e9, 25e6),
        Kernel("memory triad", "memory", "fp32", "3 arrays", {"bandwidth": figure(24.0, "GB/s")}, 0.03, 1.3e8, 8e8),
    )
    own = step()
    diagnosis = Diagnosis(
        step=own.name,
        parts=(Part("compute", 0.6), Part("memory", 0.3)),
        levers=(Lever("trainer.compile=true", 1.2, False),),
        sentence=f"{own.name} is compute-bound: 60% of the time are matrix products on useful tokens.",
    )
    return Result(
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


def noisy(found: Result) -> Result:
    return replace(
        found, noise=replace(QUIET, ratio=0.09, reasons=("the same call timed twice in turns differs: 9.0%",))
    )
