"""An exclusive lock, so that two invocations in one checkout do not build the same thing at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from app.errors import HostError, Problem, print_warning
from app.host.backends.runner import say


@contextmanager
def exclusive(root: Path, what: str) -> Iterator[None]:
    """Hold the lock `what`, after waiting for any other process that does. The system frees it when the process ends.

    On a file system without locks (ENOSYS, ENOLCK: Lustre, some NFS) only a warning is printed.

    Raises HostError if the lock file cannot be written, as after `sudo invoke` of the same.
    """
    with _lock_file(root / ".cache", what) as file:
        try:
            _lock(file, what)
        except OSError as error:
            fix = "run one `invoke` at a time here, or put the checkout on a local disk"
            print_warning(Problem(f"the disk of {root} has no locks ({error.strerror})", fix))
        yield


def _lock(file: TextIO, what: str) -> None:
    import fcntl  # missing on Windows, which still imports this module

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another command is making the {what}; waiting for it")
        fcntl.flock(file, fcntl.LOCK_EX)


def _lock_file(folder: Path, what: str) -> TextIO:
    path = folder / f"{what}.lock"
    try:
        folder.mkdir(exist_ok=True)
        return path.open("w")
    except OSError as error:
        fix = f"`sudo chown -R $(id -un) {folder}` if it belongs to another user; or work in your own checkout"
        raise HostError(Problem(f"{path} cannot be written: {error.strerror}", fix)) from None
