"""`app runs`: what was trained, and how it went."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.fileio import as_json


def runs(argv: Sequence[str]) -> int:
    """List runs, oldest first: when each began, what became of it, and its scores."""
    parser = argparse.ArgumentParser(prog="app runs", description=runs.__doc__)
    parser.add_argument("recipe", nargs="?", help="only runs of this recipe")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where run folders are (default: runs)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args(argv)

    from app.runs.folder import every

    found = [(run.path, row(run.manifest())) for run in every(options.runs, options.recipe)]
    for path, facts in found:
        if options.json:
            print(as_json({"run": str(path), **facts}))
        else:
            scores = "  ".join(f"{name} {shown(value)}" for name, value in facts["scores"].items())
            print(f"{path}  {facts['status']:<8}  {scores}")
    if not found and not options.json:
        print(f"no runs in {options.runs}")
    return 0


def shown(score: float | None) -> str:
    """A score for a person; null in the manifest is one that was not finite."""
    return "nan" if score is None else f"{score:.4f}"


def row(manifest: dict[str, Any]) -> dict[str, Any]:
    """The line of a run: `status` is finished or stopped (or still going), `scores` are those on test, else on dev."""
    scores = manifest.get("scores", {})
    return {
        "status": "finished" if manifest.get("finished") else "stopped",
        "started": manifest["started"],
        "scores": scores.get("test") or scores.get("dev") or {},
    }
