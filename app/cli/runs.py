"""`app runs`: what was trained, and with which result.

app runs
app runs sentiment --json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.cli.arguments import RECIPE, add_json, add_runs
from app.errors import RunError
from app.fileio import as_json

if TYPE_CHECKING:
    from app.runs.folder import Run


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app runs`."""
    about = "List the runs, oldest first: folder, status and scores."
    parser = argparse.ArgumentParser(prog="app runs", description=about)
    parser.add_argument("recipe", nargs="?", metavar=RECIPE, help="only runs of this recipe")
    add_runs(parser)
    add_json(parser, "one JSON object a line")
    return parser


def main(argv: Sequence[str]) -> int:
    """Print a line for each run."""
    options = parser().parse_args(argv)

    from app.runs.folder import every

    found = [(run.path, row_of(run)) for run in every(options.runs, options.recipe)]
    for path, facts in found:
        if options.json:
            print(as_json({"run": str(path), **facts}))
        else:
            scores = "  ".join(f"{name} {score_text(value)}" for name, value in facts["scores"].items())
            print(f"{path}  {facts['status']:<8}  {scores}")
    if not found and not options.json:
        print(f"no runs in {options.runs}")
    return 0


def score_text(score: float | None) -> str:
    """Return a score with four decimals; null in the manifest is a score that was not finite."""
    return "nan" if score is None else f"{score:.4f}"


def row_of(run: Run) -> dict[str, Any]:
    """Return `row` of a run's record; one that cannot be read is shown as such and hides no other run."""
    try:
        return row(run.manifest())
    except RunError as error:
        print(f"warning: {error.problems[0].where}: {error.problems[0].what}", file=sys.stderr)
        return {"status": "unreadable", "started": None, "scores": {}}


def row(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the status, the start and the scores of a run.

    A run is `stopped` while it trains too. The scores are those on test, or on dev if there are none on test.
    """
    scores = manifest.get("scores", {})
    found = (scores.get("test") or scores.get("dev") or {}) if isinstance(scores, dict) else {}
    return {
        "status": "finished" if manifest.get("finished") else "stopped",
        "started": manifest.get("started"),
        "scores": {n: v for n, v in found.items() if v is None or isinstance(v, (int, float))},
    }
