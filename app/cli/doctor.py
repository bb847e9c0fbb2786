"""`app doctor`: does this environment work, and what does an error mean.

app doctor --quick
app doctor explain "CUDA error: no kernel image is available for execution on the device"
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from app.cli.arguments import add_json, parse_subverb
from app.doctor.context import DoctorContext
from app.doctor.isolated import run_isolated
from app.doctor.registry import IN_PROCESS, ISOLATED, QUICK
from app.host.checks.check import Result, Table, exit_code, report, run, verdict
from app.host.explain import answer, catalogue, text_of

EXPLAIN_USAGE = "app doctor explain [TEXT | FILE | - | ID]"


def parser() -> argparse.ArgumentParser:
    """Return the parser of `app doctor` and its sub-verbs."""
    about = "Check this environment, from the hardware to a compiled kernel, or explain an error."
    parser = argparse.ArgumentParser(
        prog="app doctor", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(title="sub-verbs")

    about = "Check this environment. Exit codes: 0, 1 for a warning with --strict, 2 if a check fails."
    checked = verbs.add_parser("check", help="run the checks; may be left out", description=about)
    checked.add_argument("--quick", action="store_true", help="without torch, under a second: for health checks")
    add_json(checked, "one JSON document for programs")
    checked.add_argument("--strict", action="store_true", help="return exit code 1 for a warning")
    checked.add_argument("--workers", type=int, metavar="N", help="data loader workers that /dev/shm has to serve")
    checked.set_defaults(run=check)

    # No word is an option, because a pasted error may have words like --gpus. main() looks for --help.
    explained = verbs.add_parser("explain", help="say what an error means here", prefix_chars="\0", add_help=False)
    explained.usage = EXPLAIN_USAGE
    explained.add_argument("words", nargs=argparse.REMAINDER)
    explained.set_defaults(run=explain)

    parser.epilog = f"Without a sub-verb, check:\n{checked.format_usage()}"
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the sub-verb."""
    options = parse_subverb(parser(), argv, default="check")
    code: int = options.run(options)
    return code


def check(options: argparse.Namespace) -> int:
    """Run the checks and print each result as it comes, then the conclusion."""
    begin = time.perf_counter()
    context = DoctorContext(workers=options.workers)
    table = None if options.json else Table(sys.stdout, QUICK if options.quick else (*ISOLATED, *IN_PROCESS))
    results = []
    for result in run(QUICK, context) if options.quick else run_all(context):
        results.append(result)
        if table:
            table.show(result)
    summary = conclusion(results, time.perf_counter() - begin)
    print(report("inside", results, summary) if options.json else f"\n{summary}")
    return exit_code(results, options.strict)


def run_all(context: DoctorContext) -> Iterator[Result]:
    """Yield the result of every check: those with torch run in another process, the rest meanwhile in a thread here."""
    others: list[Result] = []
    lane = threading.Thread(target=lambda: others.extend(run(IN_PROCESS, context)), daemon=True)
    lane.start()
    yield from run_isolated(ISOLATED)
    lane.join()
    yield from others


def conclusion(results: Sequence[Result], seconds: float) -> str:
    """Return the last line: the verdict, the failed checks, how many of each status, and the time."""
    counts = ", ".join(f"{sum(r.status == s for r in results)} {s}" for s in ("pass", "warn", "fail", "skip"))
    failures = [r.name for r in results if r.status == "fail"]
    what = {"pass": "all is well", "warn": "usable"}.get(verdict(results), f"broken: {', '.join(failures)}")
    return f"{what} ({counts}) in {seconds:.1f} s"


def explain(options: argparse.Namespace) -> int:
    """Explain the error in the arguments, in a file or on standard input; at a terminal without any, list all."""
    words = options.words
    if words[:1] in (["-h"], ["--help"]):
        print(f"usage: {EXPLAIN_USAGE}\n\nknown: {', '.join(k.id for k in catalogue())}")
        return 0
    if not words and sys.stdin.isatty():
        width = max(len(known.id) for known in catalogue())
        print("\n".join(f"{known.id:<{width}}  {known.means}" for known in catalogue()))
        return 0
    if known := answer(text_of(words)):
        print(known)
        return 0
    print(
        "error: nothing that is known here fits this text\n"
        "  fix: paste more of it, from its first line on; `app doctor` and, on the host, `invoke doctor` find causes",
        file=sys.stderr,
    )
    return 1
