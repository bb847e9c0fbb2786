"""Will it run here? `invoke doctor` asks before anything is built, and `invoke up` says what is not well.

    python -m app.host.checks.preflight [--variant V] [--backend B] [--gpus G] [--json] [--strict]

It ends with one line: the variant and back end to use, or why none will do and what would. Standard library only, on
any Python >= 3.9; nothing on the machine is changed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app.host.checks import gpu, machine
from app.host.checks.check import Check, Result, Table, exit_code, report, run
from app.host.checks.context import CheckContext
from app.host.plan.choose import BACKENDS, Request
from app.host.variants import VARIANTS
from app.host.world import World

CHECKS: tuple[Check[CheckContext], ...] = (*machine.CHECKS, *gpu.CHECKS)


def examine(context: CheckContext) -> list[Result]:
    """Every pre-flight check, in order."""
    return list(run(CHECKS, context))


def conclusion(context: CheckContext, results: Sequence[Result]) -> str:
    """One line: what to use; or what stops `invoke up`, and what would help."""
    stops = [f"{r.detail} (fix: {r.fix})" for r in results if r.status == "fail"]
    return context.conclusion if context.plan is None or not stops else f"nothing will do here: {'; '.join(stops)}"


def doctor(request: Request, world: World, as_json: bool = False, strict: bool = False) -> int:
    """Print the whole report and return the exit code: 0, 1 for a warning under `strict`, 2 where nothing will do."""
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
    """The command line; `world` stands in for this machine in tests."""
    parser = argparse.ArgumentParser(prog="doctor", description="look at this host: what will run here, what will not")
    parser.add_argument("--variant", choices=list(VARIANTS), help="as if this variant had been asked for")
    parser.add_argument("--backend", choices=BACKENDS, help="as if this back end had been asked for")
    parser.add_argument("--gpus", help="all, none, or numbers as nvidia-smi lists them: 0,2")
    parser.add_argument("--json", action="store_true", help="one JSON document for programs")
    parser.add_argument("--strict", action="store_true", help="a warning makes the exit code 1")
    given = parser.parse_args(argv)
    world = world or World()
    request = Request.of(world.env, given.variant, given.backend, given.gpus)
    return doctor(request, world, given.json, given.strict)


if __name__ == "__main__":
    sys.exit(main())
