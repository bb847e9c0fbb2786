"""What differs between torch 2.0.1 and later releases. No other module decides by torch's version."""

from __future__ import annotations

import sys

import torch

# The newest Python that torch.compile supports, by the torch release from which on it does (release notes of PyTorch).
NEWEST_PYTHON_TO_COMPILE = {(2, 0): (3, 10), (2, 1): (3, 11), (2, 4): (3, 12), (2, 6): (3, 13), (2, 10): (3, 14)}


def torch_release() -> tuple[int, int]:
    """Return torch's major and minor number."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def leave_memory_unfilled() -> None:
    """Switch off that deterministic mode fills new tensors, as torch does from 2.1 on; it costs time at every step.

    It protects programs that read memory which they never wrote.
    """
    settings = getattr(torch.utils, "deterministic", None)
    if settings is not None:
        settings.fill_uninitialized_memory = False


def compiler_obstacle() -> str | None:
    """Return in a clause why torch.compile cannot work with this Python; None if it can."""
    rows = ((release, python) for release, python in NEWEST_PYTHON_TO_COMPILE.items() if release <= torch_release())
    newest = max(rows)[1]
    python = sys.version_info[:2]
    if python <= newest:
        return None
    release = "{}.{}".format(*torch_release())
    return "torch {} compiles on Python up to {}.{}, this is {}.{}".format(release, *newest, *python)
