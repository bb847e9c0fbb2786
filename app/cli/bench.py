"""`app bench` measures this machine and the training steps on it; `bench compare A B`; `bench check BASELINE`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

MISSED = 1
DEFAULT_BUDGET = "5m"
STARTED = time.monotonic()  # importing torch counts: the budget is what a user waits


def bench(argv: Sequence[str]) -> int:
    """Run `measure`, or one of the two verbs that read results."""
    if argv and argv[0] == "compare":
        return compare(argv[1:])
    if argv and argv[0] == "check":
        return check(argv[1:])
    return measure(argv)


def measure(argv: Sequence[str]) -> int:
    """Measure what this machine can do, what the recipes' own training steps do, and draw the second inside the first.

    Writes bench.json, bench.md and bench.html. `app bench compare A B` sets two results side by side;
    `app bench check BASELINE` exits 1 where a figure is worse than the baseline's by more than the noise, or missing.
    """
    parser = argparse.ArgumentParser(prog="app bench", description=measure.__doc__)
    _measured(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/bench"), metavar="FOLDER", help="where to write (default: runs/bench)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    options = parser.parse_intermixed_args(argv)
    seconds = _seconds(options.budget)

    from app.benchmark import results, suite
    from app.benchmark.budget import Budget
    from app.benchmark.report import html, markdown
    from app.fileio import write_text

    result = suite.run(options.recipe, options.overrides, Budget(seconds, started=STARTED))
    results.write(result, options.out / "bench.json")
    write_text(options.out / "bench.md", markdown.to_markdown(result))
    write_text(options.out / "bench.html", html.to_html(result))
    if options.json:
        print((options.out / "bench.json").read_text(encoding="utf-8"), end="")
    else:
        print(markdown.to_text(result))
        print(f"\n{options.out}/bench.json, bench.md, bench.html")
    return 0


def compare(argv: Sequence[str]) -> int:
    """Set two results side by side and mark what differs by more than the noise of both."""
    parser = argparse.ArgumentParser(prog="app bench compare", description=compare.__doc__)
    parser.add_argument("a", type=Path, help="bench.json to compare with")
    parser.add_argument("b", type=Path, help="bench.json that is compared")
    _anyway(parser)
    options = parser.parse_args(argv)

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


def check(argv: Sequence[str]) -> int:
    """Measure what a baseline measured, or read --result; exit 1 where a figure is worse beyond the noise, or gone."""
    parser = argparse.ArgumentParser(prog="app bench check", description=check.__doc__)
    parser.add_argument("baseline", type=Path, help="bench.json of an earlier run")
    parser.add_argument("--result", type=Path, metavar="FILE", help="check this bench.json instead of measuring now")
    _anyway(parser)
    options = parser.parse_args(argv)

    from app.benchmark import results
    from app.benchmark.report import compare as comparing
    from app.benchmark.report.markdown import noise_sentence

    baseline = results.read(options.baseline)
    if options.result:
        now = results.read(options.result)
    else:
        from app.benchmark import suite
        from app.benchmark.budget import Budget

        now = suite.run(baseline.recipes, baseline.overrides, Budget(baseline.budget_seconds, started=STARTED))
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
    return MISSED if worse or absent or not found else 0


def _measured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings of the recipes: trainer.batch_size=64"
    )
    parser.add_argument(
        "--recipe",
        action="append",
        default=[],
        metavar="NAME",
        help="a recipe or .yaml file; again for more (default: every shipped one)",
    )
    parser.add_argument(
        "--budget", default=DEFAULT_BUDGET, metavar="TIME", help="time for all of it: 60s, 5m (default: %(default)s)"
    )


def _anyway(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--anyway", action="store_true", help="compare other versions, hardware and jobs too")


def _seconds(text: str) -> float:
    from app.benchmark.budget import parse_seconds

    return parse_seconds(text)
