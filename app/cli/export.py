"""`app export RUN FOLDER`: the model of a run as a folder that from_pretrained loads.

app export sentiment exports/reviews --dtype bf16
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from app.cli.arguments import FOLDER, add_json, add_run
from app.fileio import as_json


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app export`."""
    about = (
        "Write the model of a run to a folder that from_pretrained loads; LoRA's matrices are merged into the weights. "
        "A stopped run gives the weights with its best score on dev so far."
    )
    parser = argparse.ArgumentParser(prog="app export", description=about)
    add_run(parser)
    parser.add_argument("folder", type=Path, metavar=FOLDER, help="a new or an empty folder")
    parser.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="of the weights (default: as trained)")
    add_json(parser, "what was written as one JSON object")
    return parser


def main(argv: Sequence[str]) -> int:
    """Export the model and print what was written."""
    options = parser().parse_args(argv)

    from app.runs.folder import find_run

    run = find_run(options.run, options.runs)
    from app.finetune.export import export_run

    exported = export_run(run, options.folder, options.dtype)
    print(as_json(exported.summary()) if options.json else exported.text())
    return 0
