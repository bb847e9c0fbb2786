"""The memory of this machine, and whether something fits into it: asked before it is allocated.

An allocation that is too large ends in a traceback at best. At worst the system lends the memory and kills the process
that uses it.
"""

from __future__ import annotations

import os

from app.cgroups import cgroup_limits
from app.errors import Problem

UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB")


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container that this process is in if that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(whole, cgroup_limits().memory_bytes or whole)


def no_room(what: str, size: int, fix: str, where: str = "") -> Problem | None:
    """Return a problem if something of `size` bytes is more than all memory; None if it may fit."""
    most = memory_bytes()
    if size <= most:
        return None
    return Problem(f"{what}: {readable(size)}, and this machine has {readable(most)} of memory", fix, where)


def readable(size: float) -> str:
    """Return a number of bytes with a unit: 4.8 TB."""
    unit, *larger = UNITS
    while size >= 1000 and larger:
        size, unit = size / 1000, larger.pop(0)
    return f"{size:,.0f} {unit}" if size >= 100 or unit == "B" else f"{size:,.1f} {unit}"
