"""A result as one HTML page that needs nothing else: no network, no script, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from app.benchmark.report import roofline
from app.benchmark.report.markdown import HEADINGS, compact, explained, rows, setting, title, verdict
from app.benchmark.results import Result, Step


def page(result: Result) -> str:
    """The page as text; everything that was measured or named by a user is escaped."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    precisions = dict.fromkeys(kernel.precision for kernel in result.kernels if kernel.group == "matmul")
    machine = {**result.hardware, **{f"{name}, before": value for name, value in result.state_before.items()}}
    machine |= {f"{name}, after": value for name, value in result.state_after.items()}
    return template.substitute(
        title=escape(title(result)),
        setting=escape(setting(result)),
        diagnoses="\n".join(f'<p class="card diagnosis">{escape(d.sentence)}</p>' for d in result.diagnoses),
        noise=escape(verdict(result.noise)),
        noise_class="" if result.noise.quiet else "noisy",
        legend="".join(f'<span class="{escape(p)}"><i></i>{escape(p)}</span>' for p in precisions),
        roofline=roofline.svg(result),
        bars=bars(result.steps),
        explained=table(HEADINGS, [line.cells for line in explained(result.diagnoses)]),
        steps=table(HEADINGS, [line.cells for line in rows(result.steps)]),
        kernels=table(HEADINGS, [line.cells for line in rows(result.kernels)]),
        skipped=table(("what", "why"), [(item.name, item.reason) for item in result.skipped]),
        machine=table(("what", "is"), list(machine.items())),
        command=escape(result.command),
    )


def bars(steps: Sequence[Step]) -> str:
    """One bar a setting, each recipe to its own slowest."""
    parts = []
    for recipe in dict.fromkeys(step.recipe for step in steps):
        own = [step for step in steps if step.recipe == recipe]
        longest = max(step.work.seconds for step in own)
        cells = []
        for step in own:
            label = compact(step.figures["time"])
            width = 100 * step.work.seconds / longest
            cells.append(
                f"<div>{escape(step.precision)} {'compiled' if step.compiled else 'eager'}: {escape(label)}</div>"
                f'<div class="bar {escape(step.precision)}" style="width:{width:.1f}%"></div>'
            )
        parts.append(f'<h3>{escape(recipe)}</h3><div class="bars">{"".join(cells)}</div>')
    return "\n".join(parts) or "<p>None was measured.</p>"


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """An HTML table of escaped cells, or a word where there is nothing to show."""
    if not lines:
        return "<p>Nothing.</p>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
