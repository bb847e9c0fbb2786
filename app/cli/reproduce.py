"""`app reproduce RUN`: train by the recipe of a finished run again and report every difference, bit for bit.

app reproduce sentiment
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from app.cli.arguments import add_run


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app reproduce`."""
    about = (
        "Train by the recipe of a finished run again, into a new folder. Compare data, records, scores and weights. "
        "Exit code 0 means that all bits are the same."
    )
    parser = argparse.ArgumentParser(prog="app reproduce", description=about)
    add_run(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Repeat the run and print the verdict."""
    options = parser().parse_args(argv)

    from app.finetune.distributed.launch import launch
    from app.finetune.distributed.processes import processes_to_start, this_rank
    from app.finetune.reproduce import repeat, verdict
    from app.finetune.signals import STOP
    from app.runs.folder import find_run

    run = find_run(options.run, options.runs)
    with STOP.handled():
        if (processes := processes_to_start(run.recipe())) > 1:
            return launch(["reproduce", str(run.path), "--runs", str(options.runs)], processes)
        again = repeat(run, options.runs)
    if this_rank().is_zero:
        print(verdict(run, again))
    return 0
