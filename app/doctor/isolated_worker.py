"""The process in which checks use torch: `python -m app.doctor.isolated_worker NAME...` runs those checks in order.

A broken environment can end or hang the process that uses it: mixed cuDNN libraries call abort(), a broken driver never
returns. So the parent (app/doctor/isolated.py) reads JSON lines from here, and starts a new process after a loss.
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
    """Write `{"begin": name}` before each check, and a line with its name and answer after it; return 0."""
    # Standard output carries only the protocol; whatever a library prints goes to standard error.
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
