"""Compare two results: which figures differ by more than the noise of both.

A figure differs if its two medians are further apart than the noise of either machine and than their own uncertainty.
Figures that were read once have no spread; they are shown but not judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.benchmark.figure import Figure
from app.benchmark.limits import FLOP_UNITS
from app.benchmark.report.markdown import number, table
from app.benchmark.results import BenchmarkResult, named_figures
from app.errors import ConfigError, Problem

LEAST_DIFFERENCE = 0.02  # a quiet machine was seen to differ by as much from run to run, however small its spread
LEAST_SAMPLES = 3

Verdict = Literal["same", "better", "worse", "not judged"]


@dataclass(frozen=True)
class Comparison:
    """One figure in both results. `change`: of the second relative to the first, 0.1 is 10 % more; None if their units
    cannot be converted. `noise`: the largest change that means nothing."""

    name: str
    first: Figure
    second: Figure
    change: float | None
    noise: float
    verdict: Verdict


def require_comparable(first: BenchmarkResult, second: BenchmarkResult) -> None:
    """Raise ConfigError, with every difference, if the two were not measured in the same way on the same hardware."""
    problems = []
    fix = "measure again on this machine with this version, or add --anyway"
    same = "measure both with the same recipes and overrides, or add --anyway"
    if first.benchmark_version != second.benchmark_version:
        versions = f"{first.benchmark_version} and {second.benchmark_version}"
        problems.append(
            Problem(f"the results are of benchmark versions {versions}: their figures mean other things", fix)
        )
    for name in sorted({*first.hardware, *second.hardware}):
        here, there = first.hardware.get(name, "unknown"), second.hardware.get(name, "unknown")
        if here != there:
            problems.append(Problem(f"the results are of different hardware: {name} is {here} and {there}", fix))
    if sorted(first.recipes) != sorted(second.recipes) or sorted(first.overrides) != sorted(second.overrides):
        what = f"the results are of different jobs: `{first.command}` and `{second.command}`"
        problems.append(Problem(what, same))
    if problems:
        raise ConfigError(*problems)


def compare_figures(first: BenchmarkResult, second: BenchmarkResult) -> list[Comparison]:
    """Return the comparison of every figure that both results have."""
    before, after = named_figures(first), named_figures(second)
    floor = max(LEAST_DIFFERENCE, first.noise.level, second.noise.level)
    return [_compare(name, before[name], after[name], floor) for name in before if name in after]


def missing_figures(first: BenchmarkResult, second: BenchmarkResult) -> list[str]:
    """Return the names of the figures that only the first has."""
    return sorted(named_figures(first).keys() - named_figures(second).keys())


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return a Markdown table of comparisons, with a mark on those that are better or worse."""
    marks = {"same": "", "better": "better", "worse": "WORSE", "not judged": "too few samples"}
    rows = [
        (
            item.name,
            _shown(item.first),
            _shown(item.second),
            "none known"
            if item.second.limit.value is None
            else f"{number(item.second.limit.value)} {item.second.unit}",
            "" if item.change is None else f"{item.change:+.1%}",
            f"{item.noise:.1%}",
            "other units" if item.change is None else marks[item.verdict],
        )
        for item in comparisons
    ]
    return table(("figure", "A (10th to 90th percentile)", "B", "limit", "change", "noise", ""), rows)


def _shown(figure: Figure) -> str:
    return f"{number(figure.value)} {figure.unit} ({number(figure.low)} to {number(figure.high)}, n {figure.n})"


def _compare(name: str, first: Figure, second: Figure, floor: float) -> Comparison:
    scale = _conversion(first.unit, second.unit)
    change = None if scale is None else scale * second.value / first.value - 1 if first.value else 0.0
    noise = max(floor, math.hypot(_uncertainty(first), _uncertainty(second)))
    if change is None or min(first.n, second.n) < LEAST_SAMPLES:
        verdict: Verdict = "not judged"
    elif abs(change) <= noise:
        verdict = "same"
    else:
        verdict = "better" if (change > 0) == (first.better == "higher") else "worse"
    return Comparison(name, first, second, change, noise, verdict)


def _conversion(first: str, second: str) -> float | None:
    """Return the factor that turns a figure of the second unit into one of the first; None if there is none."""
    rates = dict(FLOP_UNITS.values())
    if first in rates and second in rates:
        return rates[second] / rates[first]
    return 1.0 if first == second else None


def _uncertainty(figure: Figure) -> float:
    """Return two standard errors of a median, as a share of it.

    1.253 sigma / sqrt(n) for a normal distribution, whose 10th and 90th percentiles are 2.563 sigma apart.
    """
    return 2 * 1.253 * figure.spread / 2.563 / math.sqrt(figure.n)
