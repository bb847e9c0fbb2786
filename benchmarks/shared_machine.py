"""How much of its quiet speed does a training on the CPU keep while another program keeps a core busy?

    python -m benchmarks.shared_machine --rounds 5

Each round trains the recipe three times, each in a separate process: on the quiet machine, with one core kept busy by
an endless loop, and so again with a thread for every core, which `app train` would not take then. Writes one JSON file
and one Markdown page into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from app.benchmark import machine
from app.benchmark.figure import Limit
from app.benchmark.report.markdown import table
from app.hardware.cpu import usable_cores
from benchmarks.json_process import run_json
from benchmarks.summary import RESULTS, ROOT, figure, measure_each, ratio, shown

TURNS = ("quiet", "busy", "busy, every core")
LEAST_SHARE = 0.4  # the goal: at least this share of the quiet speed


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def train(recipe: str, threads: int | None) -> tuple[float, int]:
    """Train one epoch and return examples per second and threads. `threads`: None lets `app train` choose."""
    chosen = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | chosen
    with tempfile.TemporaryDirectory() as runs, mock.patch.dict(os.environ, environment, clear=True):
        command = ["-m", "app.cli", "train", recipe, "trainer.max_epochs=1", "--runs", runs, "--json"]
        summary = run_json(command, ROOT, fixed_threads=False)
        record = json.loads(Path(summary["run"], "run.json").read_text(encoding="utf-8"))
    return next(iter(summary["speeds"].values())), record["hardware"]["threads"]


def compare(recipe: str, rounds: int) -> tuple[dict[str, Any], str]:
    """Train in every turn, `rounds` times; return the figures and their Markdown section."""
    speeds: dict[str, list[float]] = {turn: [] for turn in TURNS}
    threads: dict[str, list[int]] = {turn: [] for turn in TURNS}
    for round_ in range(1, rounds + 1):
        for turn, load, number in zip(TURNS, (False, True, True), (None, None, usable_cores())):
            if load:
                with busy_core():
                    speed, used = train(recipe, number)
            else:
                speed, used = train(recipe, number)
            speeds[turn].append(speed)
            threads[turn].append(used)
            print(
                f"{recipe} round {round_} {turn}: {speed:.4g} examples/s, {used} threads", file=sys.stderr, flush=True
            )
    share = ratio(speeds["busy"], speeds["quiet"])
    every = ratio(speeds["busy, every core"], speeds["quiet"])
    limit = Limit(None, "the quiet speed is the limit of the busy one")
    figures = {turn: figure(values, "examples/s", limit) for turn, values in speeds.items()}
    rows = [(turn, shown(figures[turn]), ", ".join(map(str, sorted(set(threads[turn]))))) for turn in TURNS]
    verdict = "reached" if share.value >= LEAST_SHARE else "NOT REACHED"
    section = "\n\n".join(
        (
            f"## {recipe}: one epoch, one of {usable_cores()} cores kept busy",
            table(("machine", "examples/s", "threads"), rows),
            f"- Busy over quiet: {shown(share)}; at least {LEAST_SHARE} is wanted: {verdict}.\n"
            f"- With a thread for every core: {shown(every)}.",
        )
    )
    result = {"speeds": figures, "threads": threads, "busy_over_quiet": share, "every_core_over_quiet": every}
    return result, section


def main(argv: Sequence[str] | None = None) -> None:
    """Compare the recipes, with a noise sample around each, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shared_machine", description=__doc__.partition("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=("sentiment",), metavar="RECIPE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(argv)

    def measure(recipe: str) -> tuple[dict[str, Any], str]:
        return compare(recipe, options.rounds)

    title = "A training on a machine with other work"
    measure_each("shared_machine", title, options.recipes, measure, options.out, machine.pick_device(), argv)


if __name__ == "__main__":
    main()
