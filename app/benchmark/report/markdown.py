"""A result as Markdown and as text for the terminal: one row for each figure, with unit, spread and limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.benchmark.figure import Figure
from app.benchmark.results import BenchmarkResult, Diagnosis, Kernel, Noise, TrainingStep

HEADINGS = ("what", "figure", "median", "10th to 90th percentile", "n", "limit", "of the limit")


@dataclass(frozen=True)
class FigureRow:
    """One figure as the cells of a table."""

    what: str
    figure: str
    value: str
    spread: str
    n: str
    limit: str
    share: str

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.what, self.figure, self.value, self.spread, self.n, self.limit, self.share)


def figure_row(what: str, name: str, figure: Figure) -> FigureRow:
    """Return the row of one figure. `what`: the thing measured; `name`: the figure's name."""
    limit = figure.limit
    known = (
        f"{number(limit.value)} {figure.unit}: {limit.source}" if limit.value is not None else f"none: {limit.source}"
    )
    return FigureRow(
        what=what,
        figure=name,
        value=f"{number(figure.value)} {figure.unit}",
        spread="read once" if figure.n == 1 else f"{number(figure.low)} to {number(figure.high)} {figure.unit}",
        n=str(figure.n),
        limit=known,
        share="" if figure.share is None else percent(figure.share),
    )


def figure_rows(items: Sequence[Kernel | TrainingStep]) -> list[FigureRow]:
    """Return a row for every figure of kernels or steps."""
    return [figure_row(item.name, name, figure) for item in items for name, figure in item.figures.items()]


def diagnosis_rows(diagnoses: Sequence[Diagnosis]) -> list[FigureRow]:
    """Return the diagnoses in numbers: a row for each part of a step's time, and for each measured gain."""
    rows: list[FigureRow] = []
    for diagnosis in diagnoses:
        rows += [figure_row(diagnosis.step, f"time by {part.bound}", part.share) for part in diagnosis.parts]
        rows += [
            figure_row(diagnosis.step, f"with {lever.what}", lever.gain) for lever in diagnosis.levers if lever.measured
        ]
    return rows


def inline(figure: Figure) -> str:
    """Return a figure as a phrase: median, spread, count and limit."""
    row = figure_row("", "", figure)
    spread = row.spread if figure.n == 1 else f"{number(figure.low)} to {number(figure.high)}"
    return f"{row.value} ({spread}, n {row.n}, {_limit_value(row)})"


def number(value: float) -> str:
    """Return a number with three significant digits; from 1,000 on as a whole number with separators."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(share: float) -> str:
    """Return a share as a percentage, below 10 % with two significant digits, so that a small one is not shown as 0."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g} %".replace(" ", "")


def noise_sentence(noise: Noise) -> str:
    """Return whether the machine was quiet enough to believe the figures, with every kind of noise."""
    named = {
        "self against self": noise.ratio,
        "start against end": noise.drift,
        "spread": noise.spread,
        "waited for a processor": noise.waited,
        "stolen by the hypervisor": noise.stolen,
    }
    facts = [f"{name} {inline(figure)}" for name, figure in named.items() if figure]
    if noise.quiet:
        return f"The machine was quiet: {', '.join(facts)}."
    return f"THE MACHINE WAS NOISY, do not believe these figures: {'; '.join(noise.reasons)}. ({', '.join(facts)}.)"


def conditions(result: BenchmarkResult) -> str:
    """Return when, for how long and with which versions the result was measured, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in result.software.items())
    return (
        f"Benchmark version {result.benchmark_version}, {result.made}, {result.used_seconds:.0f} s of "
        f"{result.budget_seconds:.0f} s. {versions}."
    )


def to_markdown(result: BenchmarkResult) -> str:
    """Return the whole result as a Markdown page."""
    parts = [f"# Benchmark: {result.hardware['device']}", conditions(result)]
    parts += [f"`{result.command}`", noise_sentence(result.noise)]
    if result.diagnoses:
        parts += ["## Diagnosis", *(f"- {diagnosis.sentence}" for diagnosis in result.diagnoses)]
        parts += [table(HEADINGS, [row.cells for row in diagnosis_rows(result.diagnoses)])]
    for heading, rows in (
        ("Measured peaks", peak_rows(result)),
        ("Training steps", figure_rows(result.steps)),
        ("Kernels", figure_rows(result.kernels)),
    ):
        if rows:
            parts += [f"## {heading}", table(HEADINGS, [row.cells for row in rows])]
    if result.skipped:
        parts += ["## Not measured", table(("what", "why"), [(item.name, item.reason) for item in result.skipped])]
    parts += ["## Machine", table(("what", "is"), machine_rows(result))]
    return "\n\n".join(parts) + "\n"


def peak_rows(result: BenchmarkResult) -> list[FigureRow]:
    """Return a row for the measured matmul peak of each precision."""
    return [figure_row(f"matmul {p}", "highest rate", peak) for p, peak in result.measured_peaks.items()]


def machine_rows(result: BenchmarkResult) -> list[tuple[str, str]]:
    """Return name and value of every fact about the machine, its state before and after included."""
    facts = {**result.hardware, **{f"{name}, before": value for name, value in result.state_before.items()}}
    facts |= {f"{name}, after": value for name, value in result.state_after.items()}
    return list(facts.items())


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; bars and line breaks in cells are escaped."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---"] * len(headings)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *cells))


def to_text(result: BenchmarkResult) -> str:
    """Return the result for a terminal: the figures without the sources of their limits, the noise, the diagnoses."""
    kernels = [kernel for kernel in result.kernels if kernel.group != "matmul"]  # their peaks are enough here
    rows = [*peak_rows(result), *figure_rows(result.steps), *figure_rows(kernels)]
    lines = [(r.what, r.figure, r.value, r.spread, f"n {r.n}", _limit_value(r)) for r in rows]
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(6)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    sentences = [diagnosis.sentence for diagnosis in result.diagnoses]
    return "\n".join([*text, "", noise_sentence(result.noise), *sentences])


def _limit_value(row: FigureRow) -> str:
    """Return a row's limit without its source, or that none is known."""
    value = row.limit.partition(":")[0]
    return f"{row.share} of {value}" if row.share else f"limit {value}"
