"""`app recipes`: the shipped recipes, one recipe resolved, or the JSON Schema of all.

app recipes
app recipes sentiment trainer.max_epochs=1
app recipes --schema > recipe.schema.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from app.cli.arguments import RECIPE, add_overrides


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app recipes`."""
    about = "List the shipped recipes, show one resolved, or print the JSON Schema by which editors check a recipe."
    parser = argparse.ArgumentParser(prog="app recipes", description=about)
    parser.add_argument("name", nargs="?", metavar=RECIPE, help="show this recipe with all its settings")
    add_overrides(parser)
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of a recipe")
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the list, the recipe or the schema."""
    options = parser().parse_intermixed_args(argv)

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
