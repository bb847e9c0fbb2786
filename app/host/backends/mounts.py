"""Mount the files outside the checkout that a command names, at the paths that the command will open.

The checkout is mounted at /workspace, so `../reviews/train.tsv` is mounted at /reviews/train.tsv and `/data/x` at
/data/x. The command needs no change.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from app.errors import HostError, Problem
from app.host.backends.commands import Mount
from app.host.backends.path_arguments import exports, paths_in

MOUNTED_AT = PurePosixPath("/workspace")
# Folders of the image: a mount there would hide or change the workspace's own files.
_TAKEN = (
    *("/bin", "/boot", "/cache", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/venv", "/proc"),
    *("/run", "/sbin", "/sys", "/usr", "/workspace"),
)
_SYSTEM = ("/dev", "/etc", "/proc", "/run", "/sys")  # of the host: a link that leads there names no data
_PARENTS = ("/", "/home", "/home/dev", "/opt", "/root", "/tmp", "/var", "/var/tmp")  # a mount would hide what is below


def mounts_for(argv: Sequence[str], root: Path) -> list[Mount]:
    """Return mounts for the files and folders that a command names outside the checkout, read-only or to write into.

    A path that does not exist gets no mount, and the command reports it; a folder to write into need not exist yet. A
    socket, a device or another special file is never mounted, whatever link leads to it.

    Raises HostError if `app export` would write to a folder that is lost with the container.
    """
    for folder in exports(argv):
        _refuse_export(folder)
    found: dict[str, Mount] = {}
    for path in paths_in(argv):
        if "/" not in path.name or "\0" in path.name:
            continue
        place = os.path.normpath(MOUNTED_AT / path.name)
        source = os.path.realpath(root / path.name)
        if _is_free(place, _TAKEN) and _is_free(source, _SYSTEM) and _may_be_mounted(source, path.written):
            found[place] = Mount(source, place, path.written)
    return list(found.values())


def _refuse_export(folder: str) -> None:
    """Raise HostError for an export outside the checkout: the folder cannot be mounted before it exists."""
    if not PurePosixPath(os.path.normpath(MOUNTED_AT / folder)).is_relative_to(MOUNTED_AT):
        what = f"{folder} is outside the checkout, so the export would be lost with the container"
        raise HostError(Problem(what, "name a folder in the checkout: exports/NAME"))


def _may_be_mounted(source: str, written: bool) -> bool:
    """Return whether a resolved path is a regular file or a folder; a folder to write into may also be missing."""
    try:
        mode = os.stat(source, follow_symlinks=False).st_mode  # noqa: PTH116 - a name may be too long for a path
    except FileNotFoundError:
        return written
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not written)


def _is_free(place: str, taken: Sequence[str]) -> bool:
    return place not in _PARENTS and not any(PurePosixPath(place).is_relative_to(folder) for folder in taken)
