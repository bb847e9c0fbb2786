"""The memory of this machine, and whether something fits into it: asked before it is allocated.

An allocation that is too large ends in a traceback at best. At worst the system lends the memory and kills the process
that uses it.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.errors import Problem

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # a container's: version 2 and 1
UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB")


def memory_bytes() -> int:
    """Return the memory of this machine, or of the container that this process is in if that is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in LIMITS:
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # another version, or "max"
            continue
    return min(found)


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
