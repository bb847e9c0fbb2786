"""Arguments that several verbs share, each defined once, and sub-verbs.

The metavar of an argument names the kind of its value. Shell completion (completion.py) proposes values by it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

RECIPE = "RECIPE"
RUN = "RUN"
FOLDER = "FOLDER"
FILE = "FILE"
OVERRIDE = "key=value"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and --runs, the folder in which a recipe's name is looked up."""
    parser.add_argument("run", metavar=RUN, help="folder of a run, or the name of a recipe for its newest run")
    add_runs(parser)


def add_runs(parser: argparse.ArgumentParser, help: str = "folder that holds the runs") -> None:
    """Add --runs FOLDER."""
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar=FOLDER, help=f"{help} (default: runs)")


def add_overrides(parser: argparse.ArgumentParser, example: str = "optimizer.lr=1e-4 trainer.max_epochs=3") -> None:
    """Add any number of key=value words. The parser then has to use `parse_intermixed_args`."""
    parser.add_argument("overrides", nargs="*", metavar=OVERRIDE, help=f"settings of the recipe: {example}")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --json, which prints `what` instead of text."""
    parser.add_argument("--json", action="store_true", help=f"print {what}")


def subverbs(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the parsers of the sub-verbs by name; empty if there are none."""
    for action in parser._actions:  # argparse has no public way to them
        if isinstance(action, argparse._SubParsersAction):
            found: Mapping[str, argparse.ArgumentParser] = action.choices
            return found
    return {}


def parse_subverb(parser: argparse.ArgumentParser, argv: Sequence[str], default: str) -> argparse.Namespace:
    """Parse the arguments of a verb with sub-verbs, of which `default` may be left out.

    argparse has no default sub-verb and takes no key=value words between the options of a sub-verb. The default one is
    therefore parsed by its own parser.
    """
    known = subverbs(parser)
    first = argv[0] if argv else default
    if first in ("-h", "--help") or (first in known and first != default):
        return parser.parse_args(argv)
    return known[default].parse_intermixed_args(argv[1:] if argv and first == default else argv)
