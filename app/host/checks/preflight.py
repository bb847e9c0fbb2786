"""The pre-flight checks, before anything is built: `invoke doctor` shows all, `invoke up` warnings and failures.

    python -m app.host.checks.preflight [--variant V] [--backend B] [--gpus G] [--json] [--strict]

The last line is the variant and back end to use, or why none can be used and how to fix it. Standard library only, on
Python 3.9 or later; nothing on the machine is changed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app.host.checks import engine, gpu, machine
from app.host.checks.check import Check, Result, Table, exit_code, report, run
from app.host.checks.context import CANNOT_RUN, CheckContext
from app.host.plan.choose import BACKENDS, Request
from app.host.variants import VARIANTS
from app.host.world import World

CHECKS: tuple[Check[CheckContext], ...] = (*machine.CHECKS, *engine.CHECKS, *gpu.CHECKS)


def examine(context: CheckContext) -> list[Result]:
    """Return the results of all pre-flight checks, in order."""
    return list(run(CHECKS, context))


def conclusion(context: CheckContext, results: Sequence[Result]) -> str:
    """Return one line: what to use, or what stops `invoke up` and how to fix it."""
    failures = [f"{r.detail} (fix: {r.fix})" for r in results if r.status == "fail"]
    return context.conclusion if context.plan is None or not failures else CANNOT_RUN + "; ".join(failures)


def doctor(request: Request, world: World, as_json: bool = False, strict: bool = False) -> int:
    """Print the report and return the exit code: 0, 1 for a warning if `strict`, 2 if the workspace cannot run."""
    context = CheckContext.of(world, request)
    if as_json:
        results = examine(context)
        print(report("host", results, conclusion(context, results)))
    else:
        table = Table(sys.stdout, CHECKS)
        results = []
        for result in run(CHECKS, context):
            table.show(result)
            results.append(result)
        print(f"\n{conclusion(context, results)}")
    return 2 if context.plan is None else exit_code(results, strict)


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    """Run the checks for a command line and return the exit code; tests pass a recorded machine as `world`."""
    parser = argparse.ArgumentParser(prog="doctor", description="check what runs on this host")
    parser.add_argument("--variant", choices=list(VARIANTS), help="check for this variant")
    parser.add_argument("--backend", choices=BACKENDS, help="check for this back end")
    parser.add_argument("--gpus", help="all, none, or numbers or ids as nvidia-smi lists them: 0,2")
    parser.add_argument("--json", action="store_true", help="one JSON document for programs")
    parser.add_argument("--strict", action="store_true", help="return exit code 1 for a warning")
    args = parser.parse_args(argv)
    world = world or World()
    request = Request.of(world.env, args.variant, args.backend, args.gpus)
    return doctor(request, world, args.json, args.strict)


if __name__ == "__main__":
    sys.exit(main())
