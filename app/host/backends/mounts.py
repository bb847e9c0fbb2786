"""Mount the files outside the checkout that a command names, at the paths that the command will open.

The checkout is mounted at /workspace, so `../reviews/train.tsv` is mounted at /reviews/train.tsv and `/data/x` at
/data/x. The command needs no change.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from app.errors import HostError, Problem
from app.host.backends.commands import Mount

MOUNTED_AT = PurePosixPath("/workspace")
WRITTEN = ("--runs", "--out")  # options of `app` whose value is a folder to write into
# Folders of the image: a mount there would hide or change the workspace's own files.
_TAKEN = (
    *("/bin", "/boot", "/cache", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/venv", "/proc"),
    *("/run", "/sbin", "/sys", "/usr", "/workspace"),
)
_PARENTS = ("/", "/home", "/home/dev", "/opt", "/root", "/tmp", "/var", "/var/tmp")  # a mount would hide what is below


def mounts_for(argv: Sequence[str], root: Path) -> list[Mount]:
    """Return mounts for the paths in `argv` that lie outside the checkout: read-only, writable after `WRITTEN`.

    A word may be a path, `key=path`, a list `key=[path,path]`, or a shell command line with any of them. A path that
    does not exist gets no mount, and the command reports it; a writable one need not exist yet.

    Raises HostError if `app export` would write to a folder that is lost with the container.
    """
    words = [part for word in argv for part in _split(word)]
    _refuse_exports(words)
    found: dict[str, Mount] = {}
    for before, word in zip(["", *words], words):
        option, _, value = word.partition("=")
        writable = before in WRITTEN or (option in WRITTEN and bool(value))
        for name in _names(word):
            place, source = os.path.normpath(MOUNTED_AT / name), os.path.normpath(root / name)
            there = writable or os.path.exists(source)  # noqa: PTH110  # never raises
            if "/" in name and there and _is_free(place):
                found[place] = Mount(source, place, writable)
    return list(found.values())


def _refuse_exports(words: Sequence[str]) -> None:
    """Raise HostError for `app export RUN FOLDER` outside the checkout: FOLDER cannot be mounted before it exists."""
    for first, verb, _, folder in zip(words, words[1:], words[2:], words[3:]):
        place = PurePosixPath(os.path.normpath(MOUNTED_AT / folder))
        if (first, verb) == ("app", "export") and not place.is_relative_to(MOUNTED_AT):
            what = f"{folder} is outside the checkout, so the export would be lost with the container"
            raise HostError(Problem(what, "name a folder in the checkout: exports/NAME"))


def _split(word: str) -> Iterator[str]:
    yield word
    line = shlex.shlex(word, posix=True, punctuation_chars=True)
    line.whitespace_split, line.commenters = True, ""
    try:
        parts = list(line)
    except ValueError:  # no closing quotation: not a shell command line
        return
    if len(parts) > 1:
        yield from parts


def _names(word: str) -> list[str]:
    return [name for name in (word, *re.split(r"[=,\[\]]", word)) if name]


def _is_free(place: str) -> bool:
    return place not in _PARENTS and not any(PurePosixPath(place).is_relative_to(taken) for taken in _TAKEN)
