"""The processor: its name, its instruction sets and the cores that this process may use. Standard library only."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from app.cgroups import cgroup_limits

BF16_FLAGS = ("amx_bf16", "avx512_bf16")  # flags of /proc/cpuinfo; without one, bf16 on a CPU is emulated


def cpuinfo() -> str:
    """Return the text of /proc/cpuinfo; empty if the system has none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def cpu_name(text: str | None = None) -> str:
    """Return the processor's name: the model from `text` (default: this machine's /proc/cpuinfo), else the platform's.

    ARM kernels write no model name; the platform's is then the architecture, as in `aarch64`.
    """
    names = _values("model name", cpuinfo() if text is None else text)
    return " ".join(names[0].split()) if names else platform.processor() or platform.machine()


def cpu_flags(text: str | None = None) -> frozenset[str]:
    """Return the processor's instruction sets as Linux names them; empty if the kernel writes none.

    `text`: of /proc/cpuinfo; default: this machine's.
    """
    flags = _values("flags", cpuinfo() if text is None else text)
    return frozenset(flags[0].split()) if flags else frozenset()


def bf16_instructions(flags: frozenset[str]) -> str | None:
    """Return the fastest instruction set for bfloat16 among `flags`; None if a CPU with these emulates bfloat16."""
    return next((flag for flag in BF16_FLAGS if flag in flags), None)


def usable_cores() -> int:
    """Return how many logical cores this process may use, at least 1.

    They are those of its CPU affinity, which `taskset` and Slurm set, and no more than the whole cores in the CPU time
    of its control group, which `docker run --cpus` and Kubernetes limit.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(cgroup_limits().cores or cores)))


def _values(key: str, text: str) -> list[str]:
    """Return the values of a key of /proc/cpuinfo, one for each logical core."""
    pairs = (line.partition(":") for line in text.splitlines())
    return [value.strip() for name, _, value in pairs if name.strip() == key]
