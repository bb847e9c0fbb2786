"""`app doctor`: does it run in here, and what does this error mean.

app doctor [--quick] [--json] [--strict] [--workers N]
app doctor explain [TEXT | FILE | - | ID]
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from app.doctor.context import Inside
from app.doctor.isolated import run_apart
from app.doctor.registry import APART, BESIDE, QUICK
from app.host.checks.check import Result, Table, exit_code, report, run, verdict
from app.host.explain import answer, catalogue, text_of


def doctor(argv: Sequence[str]) -> int:
    """The verb. Exit codes: 0, 1 for a warning under --strict or an unknown error, 2 where a check fails."""
    if argv[:1] == ["explain"]:
        return explain_command(argv[1:])
    parser = argparse.ArgumentParser(
        prog="app doctor",
        description="Check this environment from the hardware to a compiled kernel.",
        epilog="app doctor explain [TEXT | FILE | -]: what an error means here and what to type.",
    )
    parser.add_argument("--quick", action="store_true", help="without torch, under a second: for health checks")
    parser.add_argument("--json", action="store_true", help="one JSON document for programs")
    parser.add_argument("--strict", action="store_true", help="a warning makes the exit code 1")
    parser.add_argument("--workers", type=int, metavar="N", help="data loader workers that /dev/shm must serve")
    given = parser.parse_args(argv)
    begin = time.perf_counter()
    inside = Inside(workers=given.workers)
    table = None if given.json else Table(sys.stdout, QUICK if given.quick else (*APART, *BESIDE))
    results = []
    for result in run(QUICK, inside) if given.quick else run_all(inside):
        results.append(result)
        if table:
            table.show(result)
    said = conclusion(results, time.perf_counter() - begin)
    print(report("inside", results, said) if given.json else f"\n{said}")
    return exit_code(results, given.strict)


def run_all(inside: Inside) -> Iterator[Result]:
    """Every check: those of torch in a process of their own, and meanwhile the others here, reported after them."""
    others: list[Result] = []
    lane = threading.Thread(target=lambda: others.extend(run(BESIDE, inside)), daemon=True)
    lane.start()
    yield from run_apart(APART)
    lane.join()
    yield from others


def conclusion(results: Sequence[Result], seconds: float) -> str:
    """The last line: what to make of it all."""
    counts = ", ".join(f"{sum(r.status == s for r in results)} {s}" for s in ("pass", "warn", "fail", "skip"))
    failures = [r.name for r in results if r.status == "fail"]
    what = {"pass": "all is well", "warn": "usable"}.get(verdict(results), f"broken: {', '.join(failures)}")
    return f"{what} ({counts}) in {seconds:.1f} s"


def explain_command(argv: Sequence[str]) -> int:
    """Explain the error in the arguments, in a file, or on standard input; without any, list what is known."""
    if argv[:1] in (["-h"], ["--help"]):
        print(f"usage: app doctor explain [TEXT | FILE | - | ID]\n\nknown: {', '.join(k.id for k in catalogue())}")
        return 0
    if not argv and sys.stdin.isatty():
        width = max(len(known.id) for known in catalogue())
        print("\n".join(f"{known.id:<{width}}  {known.means}" for known in catalogue()))
        return 0
    if known := answer(text_of(argv)):
        print(known)
        return 0
    print(
        "error: nothing that is known here fits this text\n"
        "  fix: paste more of it, from its first line on; `app doctor` and, on the host, `invoke doctor` find causes",
        file=sys.stderr,
    )
    return 1
