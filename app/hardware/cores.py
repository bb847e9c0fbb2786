"""How many threads a training on the CPU takes: the cores that this process may use and that others leave free.

The threads of one operation wait for each other. If another program keeps one of their cores busy, each of thousands
of operations in a step waits until that core is free again. Measured with one of two cores busy: `sentiment` trains 16
to 32 sentences/s on two threads and 160 on one; on two idle cores 245. Standard library only.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from app.hardware.cpu import usable_cores

STAT = Path("/proc/stat")
SHORTEST = 0.5  # seconds of observation; /proc/stat counts in hundredths of a second
BUSY = slice(0, 3), slice(5, 8)  # user, nice, system; irq, softirq, steal. Idle and iowait leave a core free


def busy_seconds(text: str, cores: set[int], ticks: int) -> float:
    """Return for how long these cores have been busy since the system's start, summed over them.

    `text`: of /proc/stat (proc_stat(5)), which counts in `ticks` per second.
    """
    busy = 0
    for line in text.splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            busy += sum(int(count) for part in BUSY for count in counts[part])
    return busy / ticks


@dataclass(frozen=True)
class CoreUse:
    """What the cores of this process, and this process itself, had done at a moment; in seconds."""

    at: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> CoreUse | None:
        """Return it for now; None if this system does not say."""
        try:
            text, cores, ticks = STAT.read_text(), os.sched_getaffinity(0), os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError):
            return None
        own = os.times()
        return cls(time.monotonic(), busy_seconds(text, cores, ticks), sum(own[:4]))

    def others_until(self, later: CoreUse) -> float:
        """Return how many cores other programs kept busy, on average, from now until `later`."""
        seconds = max(later.at - self.at, 1e-9)
        return max(0.0, (later.busy - self.busy) - (later.own - self.own)) / seconds


def free_cores(since: CoreUse | None) -> int:
    """Return how many cores this process may use and others have left free `since` then, at least 1.

    Waits if that was less than half a second ago. Without an answer from the system: all cores.
    """
    if since is None:
        return usable_cores()
    time.sleep(max(0.0, SHORTEST - (time.monotonic() - since.at)))
    now = CoreUse.now()
    others = since.others_until(now) if now else 0.0
    return max(1, usable_cores() - round(others))
