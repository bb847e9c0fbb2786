"""Everything that differs between torch 2.0.1 and later releases. No other file asks for a version."""

from __future__ import annotations

import sys

import torch

# The newest Python whose bytecode torch's compiler reads, from that torch release on.
COMPILER_READS = {(2, 0): (3, 10), (2, 1): (3, 11), (2, 4): (3, 12), (2, 6): (3, 13), (2, 10): (3, 14)}


def torch_release() -> tuple[int, int]:
    """Major and minor number of torch."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def leave_memory_unfilled() -> None:
    """Torch from 2.1 on fills new memory in deterministic mode, for programs that read what they never wrote."""
    settings = getattr(torch.utils, "deterministic", None)
    if settings is not None:
        settings.fill_uninitialized_memory = False


def compiler_obstacle() -> str | None:
    """Why torch.compile cannot work with this Python, in a clause; None where it can."""
    newest = max((release, python) for release, python in COMPILER_READS.items() if release <= torch_release())[1]
    python = sys.version_info[:2]
    if python <= newest:
        return None
    release = "{}.{}".format(*torch_release())
    return "torch {} compiles on Python up to {}.{}, this is {}.{}".format(release, *newest, *python)
