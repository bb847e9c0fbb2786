"""Reading data so that a user sees every problem at once: system errors as DataErrors, several readers together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from app.errors import DataError, Problem
from app.fileio import sha256_of

T = TypeVar("T")


def read_all(readers: Iterable[Callable[[], T]]) -> list[T]:
    """Call every reader and return the results in order.

    Raises one DataError with the problems of all readers that fail, each problem once.
    """
    results: list[T] = []
    problems: list[Problem] = []
    for read in readers:
        try:
            results.append(read())
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return results


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError raised inside the block into a DataError that names the path and a fix."""
    try:
        yield
    except OSError as error:
        raise DataError(read_problem(path, error)) from error


def read_problem(path: Path, error: OSError) -> Problem:
    """Return what to tell the user about a file or folder that the system refuses to read."""
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


def local_path(name: str, path_of: Callable[[str], Path] = lambda name: Path(name).expanduser()) -> Path:
    """Return `path_of(name)`, by default the name with ~ expanded. Raises DataError if ~ names an unknown user."""
    try:
        return path_of(name)
    except RuntimeError as error:
        raise DataError(Problem(f"no such file or folder: {name}", f"write the whole path: {error}")) from error


def file_digest(path: Path) -> str:
    """Return the sha256 of a file. Raises DataError if it cannot be read, or is a pipe or a device."""
    check_regular(path)
    with reading(path):
        return sha256_of(path)


def check_regular(path: Path) -> None:
    """Raise DataError for a pipe, a device or a socket: reading it might never end. A path without a file passes."""
    with reading(path):
        other = path.exists() and not (path.is_file() or path.is_dir())
    if other:
        raise DataError(Problem("it is a pipe or a device, not a file", "name a file", str(path)))
