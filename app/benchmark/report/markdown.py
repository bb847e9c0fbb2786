"""A result as text: one row a figure, each with unit, spread and limit; as Markdown and for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.benchmark.figure import Figure
from app.benchmark.results import Diagnosis, Kernel, Noise, Result, Step

HEADINGS = ("what", "figure", "median", "10th to 90th percentile", "n", "limit", "of the limit")


@dataclass(frozen=True)
class Row:
    """One figure, as text."""

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


def row(what: str, name: str, figure: Figure) -> Row:
    """A figure with everything that it needs to be understood."""
    limit = figure.limit
    known = (
        f"{number(limit.value)} {figure.unit}: {limit.source}" if limit.value is not None else f"none: {limit.source}"
    )
    return Row(
        what=what,
        figure=name,
        value=f"{number(figure.value)} {figure.unit}",
        spread="read once" if figure.n == 1 else f"{number(figure.low)} to {number(figure.high)} {figure.unit}",
        n=str(figure.n),
        limit=known,
        share="" if figure.share is None else percent(figure.share),
    )


def rows(items: Sequence[Kernel | Step]) -> list[Row]:
    """The figures of kernels or steps, one a row."""
    return [row(item.name, name, figure) for item in items for name, figure in item.figures.items()]


def explained(diagnoses: Sequence[Diagnosis]) -> list[Row]:
    """What the sentences say in numbers: where the time of each step goes, and what each lever gains."""
    return [
        found
        for diagnosis in diagnoses
        for found in (
            *(row(diagnosis.step, f"time by {part.bound}", part.share) for part in diagnosis.parts),
            *(row(diagnosis.step, f"with {lever.what}", lever.gain) for lever in diagnosis.levers),
        )
    ]


def compact(figure: Figure) -> str:
    """A figure in a phrase: median, spread, count and limit."""
    found = row("", "", figure)
    spread = found.spread if figure.n == 1 else f"{number(figure.low)} to {number(figure.high)}"
    return f"{found.value} ({spread}, n {found.n}, {_short(found)})"


def number(value: float) -> str:
    """Three significant digits; thousands apart, and whole from there on."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(share: float) -> str:
    """A share with enough digits to tell a little from nothing."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g} %".replace(" ", "")


def verdict(noise: Noise) -> str:
    """Whether to believe the figures, in one paragraph."""
    named = {
        "self against self": noise.ratio,
        "start against end": noise.drift,
        "spread": noise.spread,
        "waited for a processor": noise.waited,
        "stolen by the hypervisor": noise.stolen,
    }
    facts = [f"{name} {compact(figure)}" for name, figure in named.items() if figure]
    if noise.quiet:
        return f"The machine was quiet: {', '.join(facts)}."
    return f"THE MACHINE WAS NOISY, do not believe these figures: {'; '.join(noise.reasons)}. ({', '.join(facts)}.)"


def title(result: Result) -> str:
    """What was measured, in a line."""
    return f"{result.hardware['device']}"


def setting(result: Result) -> str:
    """Versions, time and effort, in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in result.software.items())
    return (
        f"Benchmark version {result.benchmark_version}, {result.made}, {result.used_seconds:.0f} s of "
        f"{result.budget_seconds:.0f} s. {versions}."
    )


def markdown(result: Result) -> str:
    """The whole result as a Markdown page."""
    parts = [f"# Benchmark: {title(result)}", setting(result), f"`{result.command}`", verdict(result.noise)]
    if result.diagnoses:
        parts += ["## Diagnosis", *(f"- {diagnosis.sentence}" for diagnosis in result.diagnoses)]
        parts += [table(HEADINGS, [line.cells for line in explained(result.diagnoses)])]
    peaks = [row(f"matmul {precision}", "highest rate", peak) for precision, peak in result.measured_peaks.items()]
    for heading, found in (
        ("Measured peaks", peaks),
        ("Training steps", rows(result.steps)),
        ("Kernels", rows(result.kernels)),
    ):
        if found:
            parts += [f"## {heading}", table(HEADINGS, [line.cells for line in found])]
    if result.skipped:
        parts += ["## Not measured", table(("what", "why"), [(item.name, item.reason) for item in result.skipped])]
    facts = {**result.hardware, **{f"{name}, before": value for name, value in result.state_before.items()}}
    facts |= {f"{name}, after": value for name, value in result.state_after.items()}
    parts += ["## Machine", table(("what", "is"), list(facts.items()))]
    return "\n\n".join(parts) + "\n"


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---"] * len(headings)
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *cells))


def terminal(result: Result) -> str:
    """What `app bench` prints: the figures without their sources, then the verdict and the diagnosis."""
    peaks = [row(f"matmul {precision}", "highest rate", peak) for precision, peak in result.measured_peaks.items()]
    lines = [
        (found.what, found.figure, found.value, found.spread, f"n {found.n}", _short(found))
        for found in (*peaks, *rows(result.steps), *rows([k for k in result.kernels if k.group != "matmul"]))
    ]
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(6)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    sentences = [diagnosis.sentence for diagnosis in result.diagnoses]
    return "\n".join([*text, "", verdict(result.noise), *sentences])


def _short(found: Row) -> str:
    """The limit without its source; where none is known, that."""
    value = found.limit.partition(":")[0]
    return f"{found.share} of {value}" if found.share else f"limit {value}"
