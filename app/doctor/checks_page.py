"""docs/checks.md, generated from the checks by `python -m app.doctor.checks_page`; a test holds it up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from app.doctor import registry
from app.fileio import write_text
from app.host.checks import preflight
from app.host.checks.check import SCHEMA, Check
from app.host.explain import catalogue
from app.host.probe.machine import ROOT

PAGE = ROOT / "docs" / "checks.md"
COMMAND = "python -m app.doctor.checks_page"

HEAD = f"""\
# What the doctor checks

Generated from the code by `{COMMAND}`; do not edit.

| command | where | what |
|---|---|---|
| `invoke doctor` | on the host | before a build: whether the workspace runs here, which variant and which back end |
| `app doctor` | inside | whether it works: hardware, libraries, kernels against float64, packages against the lock |
| `app doctor --quick` | inside | the checks marked quick, without torch, in under a second: for health checks |
| `app doctor explain [TEXT \\| FILE \\| -]` | inside | what an error means here, and what to type |
| `invoke doctor --explain "TEXT \\| FILE \\| -"` | on the host | the same; `invoke up` explains its own failures |

Every check passes, warns, fails, or skips with its reason. A warning and a failure tell what to type and name the
source of the rule. The exit code is 2 if a check failed, 1 if one warned and `--strict` was given, else 0. A check
never changes the machine, has a time limit, and cannot stop the other checks. `--json` prints one document: `schema`
({SCHEMA}), `kind`, `verdict`, `conclusion`, `counts`, and `results` with `name`, `status`, `detail`, `fix`, `source`,
`step` and `seconds`.

How to add a check: [how-to/add-a-doctor-check.md](how-to/add-a-doctor-check.md). How to add an error:
[how-to/add-a-known-error.md](how-to/add-a-known-error.md).
"""


def page() -> str:
    """Return the text of the page."""
    steps = [c for c in registry.ISOLATED if c.step]
    rest = [c for c in (*registry.ISOLATED, *registry.IN_PROCESS) if not c.step]
    known = "\n".join(f"| `{k.id}` | {k.means} |" for k in catalogue())
    return "\n".join(
        [
            HEAD,
            "## On the host\n",
            table(preflight.CHECKS),
            "\n## Inside: the ten steps\n",
            table(steps),
            "\n## Inside: everything else\n",
            table(rest),
            "\n## Errors that are explained\n\n| id | what it means |\n|---|---|",
            known,
            "",
        ]
    )


def table(checks: Iterable[Check[Any]]) -> str:
    """Return a Markdown table with a row for each check."""
    rows = ["| check | what it checks | needs | limit |", "|---|---|---|---|"]
    for c in checks:
        name = f"{c.step}. {c.name}" if c.step else c.name
        quick = " (quick)" if c.quick else ""
        rows.append(f"| {name}{quick} | {c.about} | {c.needs or 'nothing'} | {c.limit:g} s |")
    return "\n".join(rows)


def write(path: Path = PAGE) -> None:
    """Write the page in one piece: a reader never sees half of it."""
    write_text(path, page())


if __name__ == "__main__":
    write()
    print(PAGE.relative_to(ROOT), file=sys.stderr)
