"""`app train RECIPE` trains by a recipe; `app train --resume RUN` continues a run that was stopped.

app train sentiment trainer.max_epochs=1 optimizer.lr=1e-4
app train sentiment --dry
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from app.cli.arguments import RECIPE, RUN, add_json, add_overrides, add_runs
from app.fileio import as_json


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app train`."""
    about = "Train by a recipe, score on dev and test and save the model; or continue a run that was stopped."
    parser = argparse.ArgumentParser(prog="app train", description=about)
    parser.add_argument(
        "recipe", nargs="?", metavar=RECIPE, help="name of a shipped recipe (`app recipes`) or a .yaml file"
    )
    add_overrides(parser)
    add_runs(parser, "folder for the new run")
    parser.add_argument("--resume", metavar=RUN, help="folder of a run, or the name of a recipe for its newest run")
    parser.add_argument("--dry", action="store_true", help="show what the training would be and cost, train nothing")
    add_json(parser, "the scores as one JSON object")
    return parser


def main(argv: Sequence[str]) -> int:
    """Train, or estimate the training, and print the result."""
    arguments = parser()
    options = arguments.parse_intermixed_args(argv)
    if not (options.recipe or options.resume):
        arguments.error("name a recipe, or a run with --resume")

    from app.config import load
    from app.hardware.cores import CoreUse
    from app.runs.folder import find_run

    at_start = CoreUse.now()

    overrides = options.overrides
    if options.resume:
        run = find_run(options.resume, options.runs)
        overrides = [*([options.recipe] if options.recipe else []), *overrides]
        recipe = run.recipe(overrides)
    else:
        recipe = load(options.recipe, overrides)
    if options.dry:
        from app.finetune import estimate
        from app.finetune.session import prepare

        session = prepare(recipe)
        plan = estimate.plan_of(session)
        print(as_json(estimate.summary(plan)) if options.json else estimate.describe(session, plan))
        return 0
    from app.finetune.distributed.processes import processes_to_start, this_rank

    if (processes := processes_to_start(recipe)) > 1:
        from app.finetune.distributed.launch import launch

        return launch(["train", *argv], processes)
    from app.finetune.train import resume_run, train_recipe, use_free_cores

    if options.resume:
        finished = resume_run(run, overrides)
    else:
        use_free_cores(recipe, at_start)
        finished = train_recipe(recipe, options.runs)
    if this_rank().is_zero:
        print(as_json(finished.summary()) if options.json else finished.text())
    return 0
