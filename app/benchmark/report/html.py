"""A result as one HTML page that needs no network and no script, for light and dark, wide and narrow screens."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from app.benchmark.report import roofline
from app.benchmark.report.markdown import (
    HEADINGS,
    conditions,
    diagnosis_rows,
    figure_rows,
    inline,
    machine_rows,
    noise_sentence,
)
from app.benchmark.results import BenchmarkResult, TrainingStep


def to_html(result: BenchmarkResult) -> str:
    """Return the page. Everything that was measured or that a user named is escaped."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    precisions = dict.fromkeys(kernel.precision for kernel in result.kernels if kernel.group == "matmul")
    return template.substitute(
        title=escape(result.hardware["device"]),
        conditions=escape(conditions(result)),
        diagnoses="\n".join(f'<p class="card diagnosis">{escape(d.sentence)}</p>' for d in result.diagnoses),
        noise=escape(noise_sentence(result.noise)),
        noise_class="" if result.noise.quiet else "noisy",
        legend="".join(f'<span class="{escape(p)}"><i></i>{escape(p)}</span>' for p in precisions),
        roofline=roofline.svg(result),
        bars=bars(result.steps),
        shares=table(HEADINGS, [row.cells for row in diagnosis_rows(result.diagnoses)]),
        steps=table(HEADINGS, [row.cells for row in figure_rows(result.steps)]),
        kernels=table(HEADINGS, [row.cells for row in figure_rows(result.kernels)]),
        skipped=table(("what", "why"), [(item.name, item.reason) for item in result.skipped]),
        machine=table(("what", "is"), machine_rows(result)),
        command=escape(result.command),
    )


def bars(steps: Sequence[TrainingStep]) -> str:
    """Return one bar for each step, as long as its time; the longest of a recipe fills the width."""
    parts = []
    for recipe in dict.fromkeys(step.recipe for step in steps):
        own = [step for step in steps if step.recipe == recipe]
        longest = max(step.work.seconds for step in own)
        items = []
        for step in own:
            label = inline(step.figures["time"])
            width = 100 * step.work.seconds / longest
            items.append(
                f"<div>{escape(step.precision)} {'compiled' if step.compiled else 'eager'}: {escape(label)}</div>"
                f'<div class="bar {escape(step.precision)}" style="width:{width:.1f}%"></div>'
            )
        parts.append(f'<h3>{escape(recipe)}</h3><div class="bars">{"".join(items)}</div>')
    return "\n".join(parts) or "<p>None was measured.</p>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table with escaped cells, or a paragraph if there are no rows."""
    if not rows:
        return "<p>Nothing.</p>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
