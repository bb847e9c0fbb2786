"""Compare two checkouts of this project: does a change keep the loss and the speed of training?

    git worktree add ../old main
    python -m benchmarks.between ../old . --recipes hello-linear gpt-char --rounds 5

Each recipe is trained in both folders in turns, old, new, old again, each time in a separate process of that checkout,
by this Python. The second training of `old` in a round shows how much it differs from itself: a smaller difference of
`new` means nothing. Milliseconds are those of an optimizer step, with its wait for data and without evaluations. The
final scores on dev and the hashes of the trained weights show whether both trained the same. Writes one JSON file and
one Markdown page into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from app.benchmark import machine
from app.benchmark.figure import Figure, Limit, counted
from app.benchmark.report.compare import LEAST_DIFFERENCE
from app.benchmark.report.markdown import table
from app.benchmark.timer import percentile
from benchmarks.json_process import run_json
from benchmarks.peers import first_examples
from benchmarks.summary import DATA, RESULTS, figure, measure_each, ratio, shown

TURNS = ("old", "new", "old-again")
# Optimizer steps of a training: seconds of work, and enough records of ten steps for a median.
STEPS = {"hello-linear": 300, "hello-logistic": 300, "digits-cnn": 200, "gpt-char": 150}
TEXTS = "sentiment"  # its batches are of so many tokens, so it trains one epoch and not a number of steps
SST2 = DATA / "sst2"
REVIEWS = Path("app", "recipes", "data", "reviews")  # in a checkout
PER_TOKEN = ("tokens/s", "padded_tokens/s")


@dataclass(frozen=True)
class Workload:
    """A recipe, and the settings with which both checkouts train it."""

    recipe: str
    settings: tuple[str, ...]
    examples: int | None
    """Examples of the whole training, if a batch holds a number of tokens and not of examples."""
    about: str


@dataclass(frozen=True)
class Training:
    """One training in one checkout, as its run folder records it."""

    milliseconds: float
    """Median of an optimizer step."""
    steps: int
    scores: Mapping[str, float]
    """On dev, at the end."""
    weights: str
    """sha256 of the trained weights."""
    data: Mapping[str, str]
    """sha256 of each split's data."""
    revision: str
    """Git revision of the checkout, its first 12 digits, and a plus sign if files were changed since."""


def train(checkout: Path, work: Workload) -> Training:
    """Train with a checkout's own code and return what its run records."""
    with tempfile.TemporaryDirectory() as runs:
        command = ["-m", "app.cli", "train", work.recipe, *work.settings, "--runs", runs, "--json"]
        summary = run_json(command, checkout)
        return read_training(Path(summary["run"]), summary, work.examples)


def read_training(run: Path, summary: Mapping[str, Any], examples: int | None) -> Training:
    """Return the training of a run folder and its JSON summary."""
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [m for m in map(json.loads, lines) if "train/loss" in m]
    times = step_milliseconds(recipe["trainer"], metrics, summary["speeds"], examples)
    code = record["code"]
    return Training(
        milliseconds=percentile(times, 0.5),
        steps=metrics[-1]["step"],
        scores=record["scores"]["dev"],
        weights=record["weights_sha256"],
        data=record["data_sha256"],
        revision=f"{str(code.get('revision'))[:12]}{'+' if code.get('changed') else ''}",
    )


def step_milliseconds(
    trainer: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    speeds: Mapping[str, float],
    examples: int | None,
) -> list[float]:
    """Return milliseconds of an optimizer step, computed from the rates in the records.

    With batches of a fixed number of examples: one value for each record but the first, which holds the warm-up. With
    batches of a number of tokens: one value, the whole training's, in which `examples` examples were trained on.
    `metrics`: the training records; `speeds`: examples/s and tokens/s over the whole training.
    """
    unit = next(name for name in speeds if name not in PER_TOKEN)
    if trainer["batch_tokens"]:
        assert examples is not None
        return [1e3 * examples / speeds[unit] / metrics[-1]["step"]]
    batch = trainer["batch_size"] * trainer["accumulate"]
    return [1e3 * batch / record[unit] for record in metrics[1:] or metrics]


def compare(work: Workload, folders: Mapping[str, Path], rounds: int) -> dict[str, Any]:
    """Train in both checkouts, `rounds` times in turns; return times, ratios, scores and weights."""
    trainings: dict[str, list[Training]] = {turn: [] for turn in TURNS}
    for round_ in range(1, rounds + 1):
        for turn in TURNS:
            done = train(folders[turn.partition("-")[0]], work)
            trainings[turn].append(done)
            print(
                f"{work.recipe} round {round_} {turn}: {done.milliseconds:.4g} ms a step", file=sys.stderr, flush=True
            )
    times = {turn: [done.milliseconds for done in trainings[turn]] for turn in TURNS}
    none = Limit(None, "each checkout is compared with the other")
    change, itself = ratio(times["new"], times["old"], "lower"), ratio(times["old-again"], times["old"], "lower")
    old, new = [*trainings["old"], *trainings["old-again"]], trainings["new"]
    return {
        "workload": work.about,
        "steps": counted(new[-1].steps, "steps", "optimizer steps of one training"),
        "milliseconds": {turn: figure(values, "ms", none, "lower") for turn, values in times.items()},
        "new_over_old": change,
        "old_over_itself": itself,
        "slower": is_slower(change, itself),
        "scores": {"old": score_figures(old), "new": score_figures(new)},
        "weights_sha256": {"old": sorted({t.weights for t in old}), "new": sorted({t.weights for t in new})},
        "same_weights": len({t.weights for t in [*old, *new]}) == 1,
        "same_data": len({json.dumps(t.data, sort_keys=True) for t in [*old, *new]}) == 1,
        "revisions": {"old": old[0].revision, "new": new[0].revision},
        "raw": {turn: [asdict(done) for done in trainings[turn]] for turn in TURNS},
    }


def is_slower(change: Figure, itself: Figure) -> bool:
    """Return whether new takes longer than old by more than old differs from itself, and by more than 2 %."""
    return change.value > max(1 + LEAST_DIFFERENCE, itself.high, 2 - itself.low)


def score_figures(trainings: Sequence[Training]) -> dict[str, Figure]:
    """Return every score on dev, over all trainings of one side."""
    limit = Limit(None, "compared with the other checkout's")
    return {name: figure([t.scores[name] for t in trainings], name, limit) for name in trainings[0].scores}


def section(recipe: str, result: Mapping[str, Any]) -> str:
    """Return one recipe as a Markdown section: times, ratios, and whether both sides trained the same."""
    rows = []
    for turn, timing in result["milliseconds"].items():
        side = turn.partition("-")[0]
        scores = ", ".join(f"{name} {value.value:.6g}" for name, value in result["scores"][side].items())
        weights = ", ".join(digest[:12] for digest in result["weights_sha256"][side])
        rows.append((turn, result["revisions"][side], shown(timing), scores, weights))
    head = ("side", "revision", "ms a step", "dev", "sha256 of the weights")
    speed = "SLOWER by more than old differs from itself" if result["slower"] else "no speed is lost"
    if result["same_weights"]:
        same = "The weights are the same, bit for bit, in every training."
    elif not result["same_data"]:
        same = "THE DATA DIFFER: the trainings cannot be compared."
    else:
        same = "THE WEIGHTS DIFFER: compare the scores on dev."
    return "\n\n".join(
        (
            f"## {recipe}: {result['workload']}",
            table(head, rows),
            f"- New over old: {shown(result['new_over_old'])} times the time of a step: {speed}.\n"
            f"- Old over itself, in the same rounds: {shown(result['old_over_itself'])}.\n"
            f"- {same}",
        )
    )


def workload(recipe: str, options: argparse.Namespace, scratch: Path) -> Workload:
    """Return what a recipe trains on, by the command's options. `scratch`: a folder for the first texts of a file."""
    if recipe != TEXTS:
        steps = options.steps or STEPS[recipe]
        # An epoch has one step or more, so the steps end the training.
        return Workload(recipe, (f"trainer.max_steps={steps}", f"trainer.max_epochs={steps}"), None, f"{steps} steps")
    shipped = options.new.resolve() / REVIEWS
    source = options.data or (SST2 if SST2.is_dir() else shipped) / "train.tsv"
    dev = options.dev or source.with_name("dev.tsv")
    texts = first_examples(source, options.limit, scratch / "train.tsv").resolve()
    examples = sum(1 for line in texts.read_text(encoding="utf-8").splitlines() if line.strip())
    files = (f"data.train={texts}", f"data.dev={dev.resolve()}", "data.test=null")
    about = f"the first {examples} texts of {source.parent.name}/{source.name}, one epoch"
    return Workload(recipe, (*files, "trainer.max_epochs=1"), examples, about)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare the recipes, with a noise sample around each, and write the results after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.between", description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD", help="folder of the checkout to compare with")
    parser.add_argument("new", type=Path, metavar="NEW", help="folder of the changed checkout")
    choices, default = (*STEPS, TEXTS), ("hello-linear", "gpt-char", TEXTS)
    parser.add_argument("--recipes", nargs="+", choices=choices, default=default, help=f"default: {' '.join(default)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, metavar="N", help=f"optimizer steps of a training, except for {TEXTS}")
    data_help = f"training texts for {TEXTS} (default: SST-2 of ../shared/data, else NEW's shipped reviews)"
    parser.add_argument("--data", type=Path, metavar="FILE.tsv", help=data_help)
    parser.add_argument(
        "--dev",
        type=Path,
        metavar="FILE.tsv",
        help=f"dev texts for {TEXTS} (default: dev.tsv next to the training texts)",
    )
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="the first N training texts; 0 is all")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args(argv)
    folders = {"old": options.old.resolve(), "new": options.new.resolve()}
    for folder in folders.values():
        if not (folder / "app" / "cli").exists() and not (folder / "app" / "cli.py").exists():
            parser.error(f"{folder} is no checkout of this project: it has no app/cli")

    def measure(recipe: str) -> tuple[dict[str, Any], str]:
        with tempfile.TemporaryDirectory() as scratch:
            result = compare(workload(recipe, options, Path(scratch)), folders, options.rounds)
        return result, section(recipe, result)

    device = machine.pick_device()
    measure_each("between", "Two checkouts compared", options.recipes, measure, options.out, device, argv)


if __name__ == "__main__":
    main()
