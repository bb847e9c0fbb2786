"""`app bench`: how fast this machine is, and how near the training steps of the recipes come to it.

app bench --recipe gpt-char --budget 60s trainer.batch_size=64
app bench compare before.json after.json
app bench check benchmarks/results/intel-xeon-2-cores.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from app.cli.arguments import FILE, FOLDER, RECIPE, add_json, add_overrides, parse_subverb

WORSE = 1  # exit code of `check`
DEFAULT_BUDGET = "5m"


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app bench` and its sub-verbs."""
    about = "Measure this machine and the training steps of the recipes, or compare earlier results."
    parser = argparse.ArgumentParser(
        prog="app bench", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(title="sub-verbs")

    about = (
        "Measure what this machine can do and how long the training steps of the recipes take; show the steps under "
        "the limits of the machine. Writes bench.json, bench.md and bench.html."
    )
    measured = verbs.add_parser("measure", help="measure now; may be left out", description=about)
    add_overrides(measured, "trainer.batch_size=64")
    measured.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar=RECIPE,
        help="a recipe or .yaml file; repeat for more (default: every shipped one)",
    )
    measured.add_argument(
        "--budget", default=DEFAULT_BUDGET, metavar="TIME", help="time for everything: 60s, 5m (default: %(default)s)"
    )
    measured.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar=FOLDER, help="where to write (default: runs/bench)"
    )
    add_json(measured, "the result as JSON instead of a table")
    measured.set_defaults(run=measure)

    about = "Show two results side by side and mark what differs by more than the noise of both."
    compared = verbs.add_parser("compare", help="compare two results", description=about)
    compared.add_argument("a", type=Path, metavar="A", help="bench.json to compare with")
    compared.add_argument("b", type=Path, metavar="B", help="bench.json to compare")
    _add_anyway(compared)
    compared.set_defaults(run=compare)

    about = (
        "Measure again what a baseline measured, or read --result. Exit code 1 means that a figure is worse than the "
        "baseline's by more than the noise, or missing."
    )
    checked = verbs.add_parser("check", help="compare with a baseline, exit 1 if worse", description=about)
    checked.add_argument("baseline", type=Path, metavar="BASELINE", help="bench.json of an earlier run")
    checked.add_argument("--result", type=Path, metavar=FILE, help="check this bench.json instead of measuring now")
    _add_anyway(checked)
    checked.set_defaults(run=check)

    parser.epilog = f"Without a sub-verb, measure:\n{measured.format_usage()}"
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the sub-verb."""
    started = time.monotonic()  # importing torch counts: the budget is the time that the user waits
    options = parse_subverb(parser(), argv, default="measure")
    options.started = started
    code: int = options.run(options)
    return code


def measure(options: argparse.Namespace) -> int:
    """Measure, print the result, and write the three files; printed first, so that no failure to write loses it."""
    from app.benchmark.budget import Budget, parse_seconds

    budget = Budget(parse_seconds(options.budget), started=options.started)

    from app.benchmark import results, suite
    from app.benchmark.report import html, markdown
    from app.fileio import check_writable, write_text
    from app.runs.disk import disk_errors

    fix = "make room or give yourself access, or name another folder with --out"
    with disk_errors("the result", options.out, fix):
        check_writable(options.out)
    result = suite.run(options.recipe, options.overrides, budget)
    try:
        print(results.as_json(result) if options.json else markdown.to_text(result), end="" if options.json else "\n")
    finally:  # also if nobody reads what is printed
        with disk_errors("the result", options.out, fix):
            results.write(result, options.out / "bench.json")
            write_text(options.out / "bench.md", markdown.to_markdown(result))
            write_text(options.out / "bench.html", html.to_html(result))
    if not options.json:
        print(f"\n{options.out}/bench.json, bench.md, bench.html")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Print the differences between two results."""
    from app.benchmark import results
    from app.benchmark.report import compare as comparing
    from app.benchmark.report.markdown import noise_sentence

    first, second = results.read(options.a), results.read(options.b)
    if not options.anyway:
        comparing.require_comparable(first, second)
    print(f"A: {first.made}, {first.command}\nB: {second.made}, {second.command}\n")
    print(comparing.comparison_table(comparing.compare_figures(first, second)))
    for side, names in (
        ("A", comparing.missing_figures(first, second)),
        ("B", comparing.missing_figures(second, first)),
    ):
        print("".join(f"\nonly {side} has {name}" for name in names), end="\n" if names else "")
    print(f"\nA: {noise_sentence(first.noise)}\nB: {noise_sentence(second.noise)}")
    return 0


def check(options: argparse.Namespace) -> int:
    """Print the differences from a baseline and return `WORSE` if a figure is worse or missing."""
    from app.benchmark import results
    from app.benchmark.report import compare as comparing
    from app.benchmark.report.markdown import noise_sentence

    baseline = results.read(options.baseline)
    if options.result:
        now = results.read(options.result)
    else:
        from app.benchmark import suite
        from app.benchmark.budget import Budget

        budget = Budget(baseline.budget_seconds, started=options.started)
        now = suite.run(baseline.recipes, baseline.overrides, budget)
    if not options.anyway:
        comparing.require_comparable(baseline, now)
    found = comparing.compare_figures(baseline, now)
    print(comparing.comparison_table(found))
    absent = comparing.missing_figures(baseline, now)
    for name in absent:
        print(f"missing: {name} is in the baseline and was not measured now")
    worse = [item.name for item in found if item.verdict == "worse"]
    summary = f"{len(worse)} of {len(found)} figures are worse than the baseline beyond the noise"
    print(f"\n{': '.join([summary, *([', '.join(worse)] if worse else [])])}; {len(absent)} are missing")
    print(f"baseline: {noise_sentence(baseline.noise)}\nnow: {noise_sentence(now.noise)}")
    return WORSE if worse or absent or not found else 0


def _add_anyway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--anyway", action="store_true", help="compare other versions, hardware and jobs too")
