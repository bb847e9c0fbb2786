"""What a command names outside the checkout, shown to its container where it will look: nothing is retyped.

The checkout is mounted at /workspace: `../reviews/train.tsv` is sought at /reviews/train.tsv, `/data/x` at /data/x.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

MOUNTED_AT = PurePosixPath("/workspace")
# The image's own: a mount there would hide or change what the workspace is made of.
_TAKEN = (
    *("/bin", "/boot", "/cache", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/venv", "/proc"),
    *("/run", "/sbin", "/sys", "/usr", "/workspace"),
)


def outside(argv: Sequence[str], root: Path) -> dict[str, str]:
    """What the words of `argv` name and the mounted checkout lacks, by its place in the container.

    A word may be a path, `key=path`, a list `key=[path,path]`, or a line for a shell with any of them. What is not
    there is left to the command, whose error says so.
    """
    found = {}
    for word in argv:
        for name in _names(word):
            place = os.path.normpath(MOUNTED_AT / name)
            source = os.path.normpath(root / name)
            if "/" in name and not _is_taken(place) and os.path.exists(source):  # noqa: PTH110  # never raises
                found[place] = source
    return found


def _names(word: str) -> list[str]:
    try:
        words = shlex.split(word)
    except ValueError:  # no closing quotation: not a line for a shell
        words = [word]
    return [name for each in (word, *words) for name in (each, *re.split(r"[=,\[\]]", each)) if name]


def _is_taken(place: str) -> bool:
    path = PurePosixPath(place)
    return path == PurePosixPath("/") or any(path.is_relative_to(taken) for taken in _TAKEN)
