"""A measurement in a separate process that prints its answer as one line of JSON: both ends of it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch


def run_json(arguments: Sequence[str], folder: Path, fixed_threads: bool = True) -> Any:
    """Run Python with these arguments in `folder`, importing from there; return the JSON of its last line.

    `fixed_threads`: as many as torch takes in this process, whatever else the machine does, so that sides can be
    compared. Ends this program, with the end of the process's stderr, if the process fails.
    """
    command = [sys.executable, *arguments]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())} if fixed_threads else {}
    environment = {**threads, **os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what libraries print to stderr, so that stdout holds the answer alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
