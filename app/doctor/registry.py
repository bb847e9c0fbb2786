"""Every check inside the environment, in the order of the report.

A function under `@check` in one of these modules is a check; nothing else has to name it. Checks of the first group use
torch and run in an isolated process; those of the second, and all quick ones, run without torch in the doctor's.
"""

from __future__ import annotations

from types import ModuleType

from app.doctor.checks import devices, environment, kernels, libraries, packages, steps
from app.doctor.context import DoctorContext
from app.host.checks.check import Check

WITH_TORCH = (steps, kernels, libraries, devices)
WITHOUT_TORCH = (environment, packages)


def checks_of(module: ModuleType) -> tuple[Check[DoctorContext], ...]:
    """Return the checks that a module defines, in the order of its lines; not those that it imports."""
    found = (value for value in vars(module).values() if isinstance(value, Check))
    return tuple(check for check in found if check.look.__module__ == module.__name__)


ISOLATED = tuple(check for module in WITH_TORCH for check in checks_of(module) if not check.quick)
IN_PROCESS = (
    *(check for module in WITH_TORCH for check in checks_of(module) if check.quick),
    *(check for module in WITHOUT_TORCH for check in checks_of(module)),
)
QUICK = tuple(check for check in IN_PROCESS if check.quick)
