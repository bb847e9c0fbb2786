"""`app evaluate RUN`: scores on a split of its data, or on other data.

app evaluate sentiment --split dev
app evaluate sentiment data.test=FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from app.cli.arguments import add_json, add_overrides, add_run
from app.fileio import as_json


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app evaluate`."""
    about = "Score the model of a run on a split of its data, or on other data: data.test=FILE."
    parser = argparse.ArgumentParser(prog="app evaluate", description=about)
    add_run(parser)
    add_overrides(parser, "data.test=FILE trainer.accelerator=cpu")
    parser.add_argument(
        "--split", choices=("train", "dev", "test"), default="test", help="part of the data (default: test)"
    )
    add_json(parser, "the scores as one JSON object")
    return parser


def main(argv: Sequence[str]) -> int:
    """Evaluate the run and print the scores, then the tables of the task."""
    options = parser().parse_intermixed_args(argv)

    from app.runs.folder import find_run

    run = find_run(options.run, options.runs)
    recipe = run.recipe(options.overrides)
    from app.finetune.evaluate import evaluate_run

    scores = evaluate_run(run, recipe, options.split)
    if options.json:
        print(as_json(scores.values))
    else:
        print("  ".join(f"{name} {value:.4f}" for name, value in scores.values.items()))
        print(scores.tables)
    return 0
