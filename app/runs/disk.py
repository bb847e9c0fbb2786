"""A full disk, told apart from a bug: what the system refuses while a run's files are written ends with a fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from app.errors import Problem, RunError


@contextmanager
def writing(what: str, folder: Path, fix: str = "") -> Iterator[None]:
    """Raise RunError where `what`, in `folder`, cannot be written: no space, no permission, a limit.

    Without a `fix` the folder is a run's, which can go on.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = str(error) if isinstance(error, SafetensorError) else error.strerror or str(error)
        if isinstance(error, SafetensorError):
            if "os error" not in reason:  # the library has no exception of its own for what the system refused
                raise
            reason = reason.rpartition(": ")[2]
        fix = fix or f"make room or give access, then `app train --resume {folder}`: what was written before is whole"
        raise RunError(Problem(f"{what} could not be written: {reason}", fix, str(folder))) from error
