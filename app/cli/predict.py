"""`app predict RUN [FILE]`: the model of a run over new data, one JSON object a line.

app predict sentiment reviews.txt
echo "What a film!" | app predict sentiment
"""

from __future__ import annotations

import argparse
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from app.cli.arguments import FILE, add_run
from app.fileio import as_json
from app.signals import STOP


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app predict`."""
    about = (
        "Apply the model of a run to a file or stdin. Prints one JSON object for each line of text or row of a table, "
        "with the number of its line; an empty line has no answer: null, or empty lists."
    )
    parser = argparse.ArgumentParser(prog="app predict", description=about)
    add_run(parser)
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar=FILE,
        help=".txt, .tsv, .csv, .jsonl or .json; - is stdin, one text a line (default)",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Predict, and print the lines in the order of the input."""
    options = parser().parse_intermixed_args(argv)  # FILE may also come after --runs

    from app.runs.folder import find_run

    run = find_run(options.run, options.runs)
    from app.finetune.evaluate import predict_lines

    with _pipe_as_stdin(options.file) as file:
        text = "".join(f"{as_json(line)}\n" for line in predict_lines(run, file))
    with STOP.holding():  # all lines or none: a part of them would look like an answer to everything
        print(text, end="", flush=True)
    return 0


@contextmanager
def _pipe_as_stdin(name: str) -> Iterator[str | None]:
    """Yield the name of the file to read; None for stdin, which a pipe becomes: `app predict RUN <(command)`."""
    try:
        is_pipe = stat.S_ISFIFO(Path(name).stat().st_mode)
    except (OSError, ValueError):  # no such file, which its reader reports
        is_pipe = False
    if not is_pipe:
        yield None if name == "-" else name
        return
    before = sys.stdin
    with Path(name).open(encoding="utf-8", errors="surrogateescape") as sys.stdin:
        try:
            yield None
        finally:
            sys.stdin = before
