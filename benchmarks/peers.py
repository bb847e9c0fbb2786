"""Compare this package with the alternatives: transformers' Trainer, and a plain loop. Takes an hour on two cores.

    python -m benchmarks.peers                        # everything, five rounds, the whole data sets
    python -m benchmarks.peers --tasks sentiment --rounds 2 --limit 300

The sides take turns, each in a separate process, so that changes of the machine affect all of them. `ours` runs twice a
round: its ratio to itself is the noise. A ratio is shown only if both sides train with dropout, which is observed in
their first step, and counts only if both reach the same score on dev. The limit is this machine's matmul rate over the
FLOPs of the tokens without padding. Writes one JSON file and one Markdown page into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.benchmark import machine
from app.benchmark.figure import Limit, counted, single
from app.benchmark.kernels.matmul import float32_mode_restored, matmul_call
from app.benchmark.report.markdown import number, table
from app.benchmark.timer import clock_for, measure, summarize
from app.hardware.peaks import Precision
from benchmarks.json_process import run_json
from benchmarks.sides import JOBS
from benchmarks.summary import DATA, RESULTS, ROOT, figure, measure_each, ratio, shown

FILES = {
    "sentiment": (DATA / "sst2" / "train.tsv", DATA / "sst2" / "dev.tsv"),
    "ner": (DATA / "wnut17" / "wnut17train.conll", DATA / "wnut17" / "emerging.dev.conll"),
}
TEXT = DATA / "tinyshakespeare" / "input.txt"
TURNS = ("trainer-default", "ours", "trainer-best", "ours-again")
PRECISION_OF = {"trainer-default": "fp32", "ours": "bf16", "trainer-best": "bf16", "ours-again": "bf16"}
LEAST_RATIOS = {"trainer-default": 2.0, "trainer-best": 1.3}  # the goal: at least so many times as fast as the peer
MOST_GPT_RATIO = 0.75  # the goal: at most this share of the plain loop's time
# Parameters of all-MiniLM-L6-v2 outside of its embedding tables: 6 layers of 12 C^2 + 13 C, C = 384.
MULTIPLYING = 6 * (12 * 384**2 + 13 * 384)


def first_examples(source: Path, limit: int, target: Path) -> Path:
    """Write the first `limit` examples of a file, lines or blocks of lines, to `target`; return it.

    With a limit of 0, return the file itself.
    """
    if not limit:
        return source
    separator = "\n" if source.suffix == ".tsv" else "\n\n"
    text = "\n".join(line.rstrip() for line in source.read_text(encoding="utf-8-sig").splitlines())
    target.write_text(separator.join(text.split(separator)[:limit]) + "\n", encoding="utf-8")
    return target


def matmul_rates(device: torch.device) -> dict[str, float]:
    """Return the FLOP/s of a cube of 2,048 (8,192 on a GPU) in float32 and bf16."""
    side = 2048 if device.type == "cpu" else 8192
    calls = {}
    precisions: tuple[tuple[Precision, torch.dtype], ...] = (("fp32", torch.float32), ("bf16", torch.bfloat16))
    for precision, dtype in precisions:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        calls[precision] = matmul_call(a, b, precision)
    with float32_mode_restored():
        timings = measure(calls, clock_for(device), seconds=4.0)
    return {precision: 2.0 * side**3 / timing.median for precision, timing in timings.items()}


def race(task: str, rounds: int, limit: int, device: torch.device) -> dict[str, Any]:
    """Train one task with every side, `rounds` times, and return speeds, ratios, scores, limits and dropout.

    `limit`: the number of training examples, 0 for all.
    """
    train, dev = FILES[task]
    raw: dict[str, list[dict[str, Any]]] = {turn: [] for turn in TURNS}
    rates: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        few = first_examples(train, limit, Path(scratch, train.name))
        files = ["--task", task, "--train", str(few), "--dev", str(dev)]
        for round_ in range(1, rounds + 1):
            rates.append(matmul_rates(device))
            for turn in TURNS:
                side = "ours" if turn == "ours-again" else turn
                raw[turn].append(run_json(["-m", "benchmarks.sides", side, *files], ROOT))
                print(f"{task} round {round_} {turn}: {json.dumps(raw[turn][-1])}", file=sys.stderr, flush=True)
    tokens = raw["ours"][0]["tokens"] / raw["ours"][0]["examples"]
    flops = 6 * MULTIPLYING * tokens
    peaks = {p: [rate[p] for rate in rates] for p in rates[0]}
    itself = Limit(None, "measured here, as the limit of the sides")
    limits = {p: figure([rate / flops for rate in peak], "sentences/s", itself) for p, peak in peaks.items()}
    source = "the matmul rate measured here over the operations of an example's useful tokens"
    speeds = {turn: [done["examples"] / done["seconds"] for done in raw[turn]] for turn in TURNS}
    all_right = Limit(1.0, "all of dev right")
    scores = {turn: figure([done["score"] for done in raw[turn]], JOBS[task].score, all_right) for turn in TURNS}
    undropped = without_dropout(raw)
    return {
        "examples": counted(raw["ours"][0]["examples"], "sentences", "those of the training set, in all epochs"),
        "tokens_an_example": counted(tokens, "tokens", "mean over the training set, without padding"),
        "speeds": {
            turn: figure(values, "sentences/s", Limit(limits[PRECISION_OF[turn]].value, source))
            for turn, values in speeds.items()
        },
        "dropout": {turn: dropout_figures(raw[turn]) for turn in TURNS},
        "without_dropout": undropped,
        "ratios": {} if undropped else {peer: ratio(speeds["ours"], speeds[peer]) for peer in LEAST_RATIOS},
        "self_against_self": ratio(speeds["ours"], speeds["ours-again"]),
        "scores": scores,
        "score": JOBS[task].score,
        "equal_scores": all(scores["ours"].value >= scores[peer].value - JOBS[task].tolerance for peer in LEAST_RATIOS),
        "matmul": {p: figure([rate / 1e9 for rate in peak], "GFLOP/s", itself) for p, peak in peaks.items()},
        "limits": limits,
        "raw": raw,
    }


def without_dropout(raw: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the sides with a training in which dropout was not active."""
    return [turn for turn, runs in raw.items() if not all(done["dropout"]["active"] for done in runs)]


def dropout_figures(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the dropout of a side's first training step; `active` only if it was in every round."""
    first = runs[0]["dropout"]
    none = Limit(None, "read in the first training step")
    return {
        "active": all(done["dropout"]["active"] for done in runs),
        "modules": counted(first["modules"], "modules", "in training mode, with a rate above 0"),
        "p": [single(p, "rate", none) for p in first["p"]],
        "losses": [single(loss, "mean loss", none) for loss in first["losses"]],
    }


def gpt_char(rounds: int, steps: int) -> dict[str, Any]:
    """Return milliseconds a step of the package with its recipe's settings and of the plain loop, in turns."""
    milliseconds: dict[str, list[float]] = {turn: [] for turn in ("ours", "plain", "ours-again")}
    for round_ in range(1, rounds + 1):
        for turn, values in milliseconds.items():
            arguments = [turn.partition("-")[0], "--data", str(TEXT), "--steps", str(steps)]
            values.append(1e3 * summarize(run_json(["-m", "benchmarks.gpt_steps", *arguments], ROOT)).median)
            print(f"gpt-char round {round_} {turn}: {values[-1]:.1f} ms a step", file=sys.stderr, flush=True)
    none = Limit(None, "each side is compared with the other")
    return {
        "milliseconds": {turn: figure(values, "ms", none, "lower") for turn, values in milliseconds.items()},
        "ratio": ratio(milliseconds["ours"], milliseconds["plain"], "lower"),
        "self_against_self": ratio(milliseconds["ours"], milliseconds["ours-again"], "lower"),
        "raw": milliseconds,
    }


def overheads(seconds: float) -> dict[str, Any]:
    """Return the training loop's own milliseconds a step, by recipe, each measured for `seconds`."""
    from app.benchmark.steps.overhead import WITHOUT_END, loop_overhead
    from app.config import load
    from app.finetune.session import prepare

    figures = {}
    for name in ("hello-linear", "gpt-char", "sentiment"):
        recipe = load(name, WITHOUT_END)
        figures[name] = dict(loop_overhead(prepare(recipe), seconds).figures)
    return figures


def race_section(task: str, result: dict[str, Any]) -> str:
    """Return one task as a Markdown section: a table of the sides, the ratios against their goals, and the dropout."""
    rows = []
    for turn in TURNS:
        limit, speed = result["limits"][PRECISION_OF[turn]], result["speeds"][turn]
        near = f"{speed.value / limit.value:.0%} of {shown(limit)}"
        rows.append((turn, shown(speed), near, shown(result["scores"][turn]), dropout_text(result["dropout"][turn])))
    head = ("side", "sentences/s", "of the limit at its precision", f"dev {result['score']}", "dropout")
    title = f"## {task}: {result['examples'].value:.0f} sentences of {result['tokens_an_example'].value:.1f} tokens"
    sentences = []
    for peer, value in result["ratios"].items():
        reached = "reached" if value.value >= LEAST_RATIOS[peer] else "NOT reached"
        goal = f"at least {LEAST_RATIOS[peer]} is wanted: {reached}"
        sentences.append(f"- {shown(value)} times as fast as {peer}; {goal}.")
    if result["without_dropout"]:
        sentences.append(f"- NO RATIO: {', '.join(result['without_dropout'])} trained without dropout.")
    else:
        sentences.append("- Dropout is on on all sides: two seeds gave two losses of the first batch.")
    gate = "passed" if result["equal_scores"] else "FAILED: the ratios do not count"
    sentences.append(f"- Equal scores on dev: {gate}. Self against self: {shown(result['self_against_self'])}.")
    rates = ", ".join(f"{p} {shown(rate)} GFLOP/s" for p, rate in result["matmul"].items())
    sentences.append(
        f"- The limit: measured matmul rate ({rates}) over 6 operations a multiplying parameter and token."
    )
    return "\n\n".join((title, table(head, rows), "\n".join(sentences)))


def dropout_text(dropout: dict[str, Any]) -> str:
    """Return a side's dropout as a phrase: modules, rates, and the losses with two seeds."""
    rates = ", ".join(number(p.value) for p in dropout["p"]) or "none"
    losses = " and ".join(f"{loss.value:.6f}" for loss in dropout["losses"])
    active = "on" if dropout["active"] else "OFF"
    return f"{active}: {dropout['modules'].value:.0f} modules, p {rates}, losses {losses}"


def gpt_section(result: dict[str, Any]) -> str:
    """Return gpt-char's steps as a Markdown section."""
    rows = [(turn, shown(timing)) for turn, timing in result["milliseconds"].items()]
    reached = "reached" if result["ratio"].value <= MOST_GPT_RATIO else "NOT reached"
    goal = f"at most {MOST_GPT_RATIO} is wanted: {reached}"
    sentence = f"- {shown(result['ratio'])} of the plain eager float32 loop's time; {goal}."
    again = f"- Self against self: {shown(result['self_against_self'])}."
    title = "## gpt-char: 4 layers, width 128, context 64, batch 12"
    return "\n\n".join((title, table(("side", "ms a step"), rows), f"{sentence}\n{again}"))


def overhead_section(result: dict[str, Any]) -> str:
    """Return the loop's own cost as a Markdown section."""
    rows = [(recipe, *(shown(value) for value in figures.values())) for recipe, figures in result.items()]
    head = ("recipe", "in the loop, ms a step", "step alone, ms", "the loop's own, ms a step")
    return "\n\n".join(("## What the training loop adds to its step", table(head, rows)))


def run_task(task: str, options: argparse.Namespace, device: torch.device) -> tuple[dict[str, Any], str]:
    """Measure one task; return its result and its Markdown section."""
    if task in FILES:
        result = race(task, options.rounds, options.limit, device)
        return result, race_section(task, result)
    if task == "gpt-char":
        result = gpt_char(options.rounds, options.steps)
        return result, gpt_section(result)
    result = overheads(seconds=20.0)
    return result, overhead_section(result)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the tasks, with a noise sample around each, and write the results after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0])
    tasks = (*FILES, "gpt-char", "overhead")
    parser.add_argument("--tasks", nargs="+", choices=tasks, default=tasks, help="default: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="the first N training examples; 0 is all")
    parser.add_argument("--steps", type=int, default=300, help="of gpt-char in each round")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(argv)
    if not DATA.is_dir():
        sys.exit(f"the real data sets are not at {DATA}")
    device = machine.pick_device()

    def measure(task: str) -> tuple[dict[str, Any], str]:
        return run_task(task, options, device)

    measure_each("peers", "Compared with peers", options.tasks, measure, options.out, device, argv)


if __name__ == "__main__":
    main()
