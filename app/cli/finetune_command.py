"""`app train`, `evaluate`, `predict`, `export` and `recipes`: what is typed, in and out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from app.fileio import as_json

OVERRIDES = "settings as key=value: optimizer.lr=1e-4 trainer.max_epochs=3"


def train(argv: Sequence[str]) -> int:
    """Train by a recipe, score on dev and test, save the model; or go on with a run that was stopped."""
    parser = argparse.ArgumentParser(prog="app train", description=train.__doc__)
    parser.add_argument("recipe", nargs="?", help="name of a shipped recipe (`app recipes`) or a .yaml file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where run folders go (default: runs)"
    )
    parser.add_argument("--resume", metavar="RUN", help="folder of a run, or a recipe's name for its newest run")
    parser.add_argument("--dry", action="store_true", help="say what the training would be and cost, and do nothing")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object on stdout")
    options = parser.parse_intermixed_args(argv)
    if not (options.recipe or options.resume):
        parser.error("name a recipe, or a run with --resume")

    from app.finetune.signals import STOP

    with STOP.handled():
        from app.config import load
        from app.runs.folder import find

        overrides = options.overrides
        if options.resume:
            run = find(options.resume, options.runs)
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
        from app.finetune.train import resume_run, train_recipe

        finished = resume_run(run, overrides) if options.resume else train_recipe(recipe, options.runs)
    if this_rank().is_zero:
        print(as_json(finished.summary()) if options.json else finished.text())
    return 0


def evaluate(argv: Sequence[str]) -> int:
    """Score a trained run on a split of its data, or of other data: data.test=FILE."""
    parser = _of_a_run("evaluate", evaluate.__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
    parser.add_argument("--split", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object on stdout")
    options = parser.parse_intermixed_args(argv)

    from app.runs.folder import find

    run = find(options.run, options.runs)
    recipe = run.recipe(options.overrides)
    from app.finetune.evaluate import evaluate_run

    scores = evaluate_run(run, recipe, options.split)
    if options.json:
        print(as_json(scores.values))
    else:
        print("  ".join(f"{name} {value:.4f}" for name, value in scores.values.items()))
        print(scores.tables)
    return 0


def predict(argv: Sequence[str]) -> int:
    """Run a trained run's model over a file, or stdin; one JSON object a line out."""
    parser = _of_a_run("predict", predict.__doc__)
    parser.add_argument(
        "file", nargs="?", default="-", help=".txt, .tsv, .csv or .jsonl; - is stdin, one text a line (default)"
    )
    options = parser.parse_args(argv)

    from app.runs.folder import find

    run = find(options.run, options.runs)
    from app.finetune.evaluate import predict_lines

    for line in predict_lines(run, None if options.file == "-" else options.file):
        print(as_json(line))
    return 0


def export(argv: Sequence[str]) -> int:
    """Write a run's model to a folder that from_pretrained loads, LoRA's matrices added into the weights.

    A run that was stopped gives the weights that scored best on dev so far.
    """
    parser = _of_a_run("export", export.__doc__)
    parser.add_argument("folder", type=Path, help="a new or an empty folder")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="of the numbers (default: as trained)")
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON object on stdout")
    options = parser.parse_args(argv)

    from app.runs.folder import find

    run = find(options.run, options.runs)
    from app.finetune.export import export_run

    exported = export_run(run, options.folder, options.dtype)
    print(as_json(exported.summary()) if options.json else exported.text())
    return 0


def recipes(argv: Sequence[str]) -> int:
    """List the shipped recipes, show one resolved, or print the JSON Schema that editors check a recipe by."""
    parser = argparse.ArgumentParser(prog="app recipes", description=recipes.__doc__)
    parser.add_argument("name", nargs="?", help="show this recipe, every setting filled in")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDES)
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a recipe")
    options = parser.parse_intermixed_args(argv)

    from app import config

    if options.schema:
        from pydantic import TypeAdapter

        from app.schema import AnyRecipe

        json.dump(TypeAdapter(AnyRecipe).json_schema(), sys.stdout, indent=2)
        print()
    elif options.name:
        print(config.to_yaml(config.load(options.name, options.overrides)), end="")
    else:
        names = config.shipped_recipes()
        for name in names:
            print(f"{name:<{max(map(len, names))}}  {config.load(name).about}")
    return 0


def _of_a_run(verb: str, about: str | None) -> argparse.ArgumentParser:
    """A parser for a verb whose first argument is a run."""
    parser = argparse.ArgumentParser(prog=f"app {verb}", description=about)
    parser.add_argument("run", help="folder of a run, or a recipe's name for its newest run")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where run folders are (default: runs)"
    )
    return parser
