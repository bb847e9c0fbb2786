"""The memory and processor cores that a container, a batch job or a systemd slice may use: its cgroup's limits.

Sources: the kernel's admin-guide/cgroup-v2.rst (memory.max, cpu.max) and cgroup-v1/memory.rst, scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional

_CGROUPS = "/sys/fs/cgroup"
Read = Callable[[str], Optional[str]]
"""Returns the text of a file, or None if it cannot be read."""


@dataclass(frozen=True)
class Limits:
    """What the cgroups of this process allow, in bytes and cores (2.5 is two and a half); None without a limit."""

    memory_bytes: int | None = None
    cores: float | None = None


def read_file(path: str) -> str | None:
    """Return the text of a file, or None if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def cgroup_limits(read: Read = read_file) -> Limits:
    """Return the smallest limits of this process's cgroups and of those around them, version 1 or 2."""
    memory: list[int] = []
    cores: list[float] = []
    for folder in _folders(read, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            memory += _numbers(read(f"{folder}/{name}"))[:1]
    for folder in _folders(read, "cpu"):
        quota = _numbers(read(f"{folder}/cpu.max"))  # `200000 100000`, or `max 100000` without a limit
        quota = quota or [
            *_numbers(read(f"{folder}/cpu.cfs_quota_us")),  # -1 without a limit
            *_numbers(read(f"{folder}/cpu.cfs_period_us")),
        ]
        cores += [quota[0] / quota[1]] if len(quota) == 2 and min(quota) > 0 else []
    return Limits(min(memory, default=None), min(cores, default=None))


def _folders(read: Read, controller: str) -> Iterator[str]:
    """Yield the folders of this process's cgroup and of its parents, for version 2 and for version 1's `controller`."""
    for line in (read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        # A container sees its own cgroup at the top, under a path that may be that of the host.
        inner = PurePosixPath("/" if ".." in path else path)
        for place in (inner, *inner.parents):
            yield str(PurePosixPath(_CGROUPS, controller if controllers else "", *place.parts[1:]))


def _numbers(text: str | None) -> list[int]:
    """Return the numbers of a cgroup file; none for `max`, the word for no limit."""
    words = (text or "").split()
    return [] if "max" in words else [int(word) for word in words if word.lstrip("-").isdigit()]
