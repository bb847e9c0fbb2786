"""Turn OSErrors raised while a run is written (full disk, no permission) into a RunError with a fix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app import fileio
from app.errors import Problem, RunError, WorkspaceError


@contextmanager
def disk_errors(what: str, folder: Path, fix: str = "") -> Iterator[None]:
    """Raise RunError if the system refuses to write `what` in `folder`: no space, no permission, a limit.

    Without a `fix`, `folder` is a run's, and the message names the command that resumes it.
    """
    try:
        yield
    except WorkspaceError:
        raise
    except Exception as error:
        number = fileio.refusal(error)  # libraries in Rust raise no OSError
        if number is None and not isinstance(error, OSError):
            raise
        reason = os.strerror(number) if number else getattr(error, "strerror", None) or str(error)
        fix = fix or f"make room or give access, then `app train --resume {folder}`: what was written before is whole"
        raise RunError(Problem(f"{what} could not be written: {reason}", fix, str(folder))) from error
