"""Turn the system's errors while a run is written (full disk, no permission) into a RunError with a fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from app.errors import Problem, RunError


@contextmanager
def disk_errors(what: str, folder: Path, fix: str = "") -> Iterator[None]:
    """Raise RunError if the block cannot write `what` in `folder`: no space, no permission, a limit.

    Without a `fix`, `folder` is a run's and the fix is to resume it.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = str(error) if isinstance(error, SafetensorError) else error.strerror or str(error)
        if isinstance(error, SafetensorError):
            if "os error" not in reason:  # the library has no separate exception for what the system refused
                raise
            reason = reason.rpartition(": ")[2]
        fix = fix or f"make room or give access, then `app train --resume {folder}`: what was written before is whole"
        raise RunError(Problem(f"{what} could not be written: {reason}", fix, str(folder))) from error
