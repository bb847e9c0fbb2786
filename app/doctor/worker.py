"""The process in which torch is tried out: `python -m app.doctor.worker NAME...` runs those checks in order.

A broken environment can end or hang the process that tries it: a mixed cuDNN calls abort(), a sick driver never
returns. So the parent (`apart`) reads one JSON line a check from here, and goes on with a new process after it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from app.doctor.context import DoctorContext
from app.doctor.registry import ISOLATED
from app.host.checks.check import run_check


def main(names: Sequence[str]) -> int:
    """Write `{"begin": name}` before each check and its answer with its name after it."""
    # The protocol keeps standard output for itself; whatever a library prints goes to standard error.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    context = DoctorContext()
    for check in ISOLATED:
        if check.name in names:
            print(json.dumps({"begin": check.name}), file=lines, flush=True)
            print(json.dumps({"name": check.name, **asdict(run_check(check, context))}), file=lines, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
