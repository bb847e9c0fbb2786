"""What the system says of a file that cannot be read, as an error with its path and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import DataError, Problem
from app.fileio import sha256_of


def unreadable(path: Path, error: OSError) -> Problem:
    """A file or folder that the system will not let be read."""
    where = error.filename if isinstance(error.filename, str) else str(path)
    if isinstance(error, PermissionError):
        fix = f"let yourself read it and enter its folders: chmod u+rX {where}, or ask its owner"
    elif isinstance(error, IsADirectoryError):
        fix = "name a file in the folder"
    elif isinstance(error, FileNotFoundError):
        fix = "put it back, or name another"
    else:
        fix = "check the disk or network it is on, or name another"
    return Problem(f"it cannot be read: {error.strerror or error}", fix, where)


def local(name: str, path_of: Callable[[str], Path] = lambda name: Path(name).expanduser()) -> Path:
    """The path that a name says, with the home folder for ~. Raises DataError where that is no user's."""
    try:
        return path_of(name)
    except RuntimeError as error:
        raise DataError(Problem(f"no such file or folder: {name}", f"write the whole path: {error}")) from error


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Where the system refuses something about `path` inside the block, a DataError says so."""
    try:
        yield
    except OSError as error:
        raise DataError(unreadable(path, error)) from error


def file_digest(path: Path) -> str:
    """Return the sha256 of a file. Raises DataError if it cannot be read."""
    with readable(path):
        return sha256_of(path)
