"""This package beside what a user would take instead: transformers' Trainer, and a plain loop. An hour on two cores.

    python -m benchmarks.peers                        # everything, five rounds, the whole data sets
    python -m benchmarks.peers --tasks sentiment --rounds 2 --limit 300

The sides take turns, each in a process of its own, so that a machine that changes changes for all of them. `ours` runs
twice a round: what it differs by from itself is the noise. A ratio only counts where both sides reach the same score on
dev. The limit is this machine's matmul rate over the operations of the tokens without padding. Writes one JSON file and
one Markdown page into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from app.benchmark import machine, noise
from app.benchmark.figure import Better, Figure, Limit, counted
from app.benchmark.kernels.matmul import multiplication_restored, product
from app.benchmark.report.markdown import number, table, verdict
from app.benchmark.results import BENCHMARK_VERSION
from app.benchmark.timer import clock_for, measure, summarize
from app.fileio import write_json, write_text
from app.hardware.peaks import Precision
from benchmarks.sides import JOBS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
DATA = ROOT.parent / "shared" / "data"
FILES = {
    "sentiment": (DATA / "sst2" / "train.tsv", DATA / "sst2" / "dev.tsv"),
    "ner": (DATA / "wnut17" / "wnut17train.conll", DATA / "wnut17" / "emerging.dev.conll"),
}
TEXT = DATA / "tinyshakespeare" / "input.txt"
TURNS = ("trainer-default", "ours", "trainer-best", "ours-again")
PRECISION_OF = {"trainer-default": "fp32", "ours": "bf16", "trainer-best": "bf16", "ours-again": "bf16"}
WANTED = {"trainer-default": 2.0, "trainer-best": 1.3}  # at least so many times as fast
WANTED_GPT = 0.75  # at most this part of the plain loop's time
# Parameters of all-MiniLM-L6-v2 beside its embedding tables: 6 layers of 12 C^2 + 13 C, C = 384.
MULTIPLYING = 6 * (12 * 384**2 + 13 * 384)


def worker(module: str, *arguments: str) -> Any:
    """What a process of its own printed as JSON. Its own words go to stderr where it fails."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def first_examples(source: Path, limit: int, target: Path) -> Path:
    """The first `limit` examples of a file, lines or blocks of lines; the file itself for 0."""
    if not limit:
        return source
    separator = "\n" if source.suffix == ".tsv" else "\n\n"
    text = "\n".join(line.rstrip() for line in source.read_text(encoding="utf-8-sig").splitlines())
    target.write_text(separator.join(text.split(separator)[:limit]) + "\n", encoding="utf-8")
    return target


def matmul_rates(device: torch.device) -> dict[str, float]:
    """FLOP/s of a 2,048 cube in float32 and bf16: the limit that both sides are set against."""
    side = 2048 if device.type == "cpu" else 8192
    calls = {}
    precisions: tuple[tuple[Precision, torch.dtype], ...] = (("fp32", torch.float32), ("bf16", torch.bfloat16))
    for precision, dtype in precisions:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        calls[precision] = product(a, b, precision)
    with multiplication_restored():
        timings = measure(calls, clock_for(device), seconds=4.0)
    return {precision: 2.0 * side**3 / timing.median for precision, timing in timings.items()}


def race(task: str, rounds: int, limit: int, device: torch.device) -> dict[str, Any]:
    """All rounds of one task: raw results, speeds, ratios round by round, scores, and nearness to the limit."""
    train, dev = FILES[task]
    raw: dict[str, list[dict[str, Any]]] = {turn: [] for turn in TURNS}
    rates: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        few = first_examples(train, limit, Path(scratch, train.name))
        files = ["--task", task, "--train", str(few), "--dev", str(dev)]
        for number_ in range(rounds):
            rates.append(matmul_rates(device))
            for turn in TURNS:
                side = "ours" if turn == "ours-again" else turn
                raw[turn].append(worker("benchmarks.sides", side, *files))
                print(f"{task} round {number_ + 1} {turn}: {json.dumps(raw[turn][-1])}", file=sys.stderr, flush=True)
    tokens = raw["ours"][0]["tokens"] / raw["ours"][0]["examples"]
    operations = 6 * MULTIPLYING * tokens
    peaks = {p: [found[p] for found in rates] for p in rates[0]}
    itself = Limit(None, "measured here, as what the sides are set against")
    limits = {p: figure([rate / operations for rate in found], "sentences/s", itself) for p, found in peaks.items()}
    source = "the matmul rate measured here over the operations of an example's useful tokens"
    speeds = {turn: [done["examples"] / done["seconds"] for done in raw[turn]] for turn in TURNS}
    scores = {
        turn: figure([done["score"] for done in raw[turn]], JOBS[task].score, Limit(1.0, "all of dev right"))
        for turn in TURNS
    }
    return {
        "examples": counted(raw["ours"][0]["examples"], "sentences", "those of the training set, in all epochs"),
        "tokens_an_example": counted(tokens, "tokens", "mean over the training set, without padding"),
        "speeds": {
            turn: figure(values, "sentences/s", Limit(limits[PRECISION_OF[turn]].value, source))
            for turn, values in speeds.items()
        },
        "ratios": {peer: ratio(speeds["ours"], speeds[peer]) for peer in WANTED},
        "self_against_self": ratio(speeds["ours"], speeds["ours-again"]),
        "scores": scores,
        "score": JOBS[task].score,
        "equal_scores": all(scores["ours"].value >= scores[peer].value - JOBS[task].tolerance for peer in WANTED),
        "matmul": {p: figure([rate / 1e9 for rate in found], "GFLOP/s", itself) for p, found in peaks.items()},
        "limits": limits,
        "raw": raw,
    }


def gpt_char(rounds: int, steps: int) -> dict[str, Any]:
    """Milliseconds a step: the package with its recipe's settings, and the plain loop, in turns."""
    turns = ("ours", "plain", "ours-again")
    found: dict[str, list[float]] = {turn: [] for turn in turns}
    for number_ in range(rounds):
        for turn in turns:
            side = turn.partition("-")[0]
            seconds = worker("benchmarks.gpt_steps", side, "--data", str(TEXT), "--steps", str(steps))
            found[turn].append(1e3 * summarize(seconds).median)
            print(f"gpt-char round {number_ + 1} {turn}: {found[turn][-1]:.1f} ms a step", file=sys.stderr, flush=True)
    none = Limit(None, "the other side is what it is set against")
    return {
        "milliseconds": {turn: figure(values, "ms", none, "lower") for turn, values in found.items()},
        "ratio": ratio(found["ours"], found["plain"], "lower"),
        "self_against_self": ratio(found["ours"], found["ours-again"], "lower"),
        "raw": found,
    }


def overheads(seconds: float) -> dict[str, Any]:
    """Return the training loop's own milliseconds a step, by recipe."""
    from app.benchmark.steps.overhead import WITHOUT_END, loop_overhead
    from app.config import load
    from app.finetune.session import prepare

    found = {}
    for name in ("hello-linear", "gpt-char", "sentiment"):
        recipe = load(name, WITHOUT_END)
        found[name] = dict(loop_overhead(prepare(recipe), seconds).figures)
    return found


def figure(values: Sequence[float], unit: str, limit: Limit, better: Better = "higher") -> Figure:
    """Median, 10th and 90th percentile and count of measured values."""
    found = summarize(values)
    return Figure(found.median, unit, found.p10, found.p90, found.n, limit, better)


def ratio(ours: Sequence[float], theirs: Sequence[float], better: Better = "higher") -> Figure:
    """Round by round, one over the other."""
    limit = Limit(None, "a ratio has none: 1 is as much as the other side")
    return figure([a / b for a, b in zip(ours, theirs)], "times", limit, better)


def shown(found: Figure) -> str:
    """A median with its spread."""
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)}, n {found.n})"


def race_page(task: str, found: dict[str, Any]) -> str:
    """One task as a table, with what was wanted and whether it was reached."""
    lines = []
    for turn in TURNS:
        limit, speed = found["limits"][PRECISION_OF[turn]], found["speeds"][turn]
        near = f"{speed.value / limit.value:.0%} of {shown(limit)}"
        lines.append((turn, shown(speed), near, shown(found["scores"][turn])))
    head = ("side", "sentences/s", "of the limit at its precision", f"dev {found['score']}")
    sentences = [
        f"## {task}: {found['examples'].value:.0f} sentences of {found['tokens_an_example'].value:.1f} tokens",
        table(head, lines),
    ]
    for peer, least in WANTED.items():
        reached = "reached" if found["ratios"][peer].value >= least else "NOT reached"
        sentences.append(
            f"- {shown(found['ratios'][peer])} times as fast as {peer}; at least {least} is wanted: {reached}."
        )
    gate = "passed" if found["equal_scores"] else "FAILED: the ratios do not count"
    sentences.append(f"- Equal scores on dev: {gate}. Self against self: {shown(found['self_against_self'])}.")
    rates = ", ".join(f"{p} {shown(rate)} GFLOP/s" for p, rate in found["matmul"].items())
    sentences.append(
        f"- The limit: measured matmul rate ({rates}) over 6 operations a multiplying parameter and token."
    )
    return "\n\n".join(sentences[:2]) + "\n\n" + "\n".join(sentences[2:])


def gpt_page(found: dict[str, Any]) -> str:
    """gpt-char's steps."""
    lines = [(turn, shown(timing)) for turn, timing in found["milliseconds"].items()]
    reached = "reached" if found["ratio"].value <= WANTED_GPT else "NOT reached"
    sentence = (
        f"- {shown(found['ratio'])} of the plain eager float32 loop's time; at most {WANTED_GPT} is wanted: {reached}."
    )
    again = f"- Self against self: {shown(found['self_against_self'])}."
    title = "## gpt-char: 4 layers, width 128, context 64, batch 12"
    return "\n\n".join((title, table(("side", "ms a step"), lines), f"{sentence}\n{again}"))


def overhead_page(found: dict[str, Any]) -> str:
    """Return the loop's own cost as a page."""
    lines = [(recipe, *(shown(figure) for figure in row.values())) for recipe, row in found.items()]
    head = ("recipe", "in the loop, ms a step", "step alone, ms", "the loop's own, ms a step")
    return "\n\n".join(("## What the training loop adds to its step", table(head, lines)))


def measured(task: str, options: argparse.Namespace, device: torch.device) -> tuple[dict[str, Any], str]:
    """One task's findings, and its part of the page."""
    if task in FILES:
        found = race(task, options.rounds, options.limit, device)
        return found, race_page(task, found)
    if task == "gpt-char":
        found = gpt_char(options.rounds, options.steps)
        return found, gpt_page(found)
    found = overheads(seconds=20.0)
    return found, overhead_page(found)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0])
    parts = (*FILES, "gpt-char", "overhead")
    parser.add_argument("--tasks", nargs="+", choices=parts, default=parts, help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="the first N training examples; 0 is all")
    parser.add_argument("--steps", type=int, default=300, help="of gpt-char in each round")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(argv)
    if not DATA.is_dir():
        sys.exit(f"the real data sets are not at {DATA}")
    device = machine.pick_device()
    made = datetime.now(timezone.utc)
    about: dict[str, Any] = {
        "benchmark_version": BENCHMARK_VERSION,
        "made": made.isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.peers", *(sys.argv[1:] if argv is None else argv)]),
        "machine": {**machine.hardware(device), **machine.software(device)},
    }
    stem = options.out / f"{made:%Y-%m-%d-%H%M}-peers"
    checks = [noise.check(device, 2.0)]
    found: dict[str, Any] = {}
    pages: list[str] = []
    for task in options.tasks:
        found[task], page = measured(task, options, device)
        pages.append(page)
        checks.append(noise.check(device, 2.0))
        keep(stem, {**about, "noise": noise.judge(checks), **found}, pages)  # an end in the next task loses that alone
    print("\n\n".join([verdict(noise.judge(checks)), *pages]))
    print(f"\n{stem}.json, {stem}.md")


def keep(stem: Path, found: dict[str, Any], pages: Sequence[str]) -> None:
    """Write what is known so far, as JSON and as a page."""
    facts = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    top = ["# Beside the peers", f"{found['made']}, `{found['command']}`", f"{facts}.", verdict(found["noise"])]
    write_json(stem.with_suffix(".json"), plain(found))
    write_text(stem.with_suffix(".md"), "\n\n".join([*top, *pages]) + "\n")


def plain(value: Any) -> Any:
    """Figures, wherever they are, as objects of JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


if __name__ == "__main__":
    main()
