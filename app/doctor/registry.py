"""Every check inside, in the order of the report. A new one is a function in its module and a place in its CHECKS."""

from __future__ import annotations

from app.doctor.checks import devices, environment, kernels, libraries, packages, steps
from app.doctor.context import DoctorContext
from app.host.checks.check import Check

# Those that use torch run in a process of their own, in this order; the others beside it.
ISOLATED: tuple[Check[DoctorContext], ...] = (
    *steps.CHECKS,
    *kernels.CHECKS,
    *(c for c in libraries.CHECKS if not c.quick),
    *(c for c in devices.CHECKS if not c.quick),
)
IN_PROCESS: tuple[Check[DoctorContext], ...] = (
    *(c for c in libraries.CHECKS if c.quick),
    *(c for c in devices.CHECKS if c.quick),
    *environment.CHECKS,
    *packages.CHECKS,
)
QUICK: tuple[Check[DoctorContext], ...] = tuple(c for c in IN_PROCESS if c.quick)
