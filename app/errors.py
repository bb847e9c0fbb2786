"""What a user can get wrong, as one tree of exceptions.

    WorkspaceError          prints `error:` and `fix:`, exit code 2, no traceback
    ├── HostError           the machine: Docker, drivers, GPUs, Python, disk, network
    ├── ConfigError         a recipe or an override
    ├── DataError           a data file or what is in it
    ├── ModelError          a model that cannot be found, read or trusted
    └── RunError            a run folder, a checkpoint, a device in use

An exception carries every problem found, not only the first. Any other exception is a bug and keeps its traceback.
Standard library only: `app.host` uses this module on the host's Python.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `what` is one sentence with the field and the value; `fix` is one sentence with what to type; `where` is the place:
    `file`, `file:line` or empty.
    """

    what: str
    fix: str
    where: str = ""

    def __str__(self) -> str:
        return self._as("error")

    def _as(self, severity: str) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{severity}: {place}{self.what}\n  fix: {self.fix}"


class WorkspaceError(Exception):
    """A user's mistake or a machine that cannot do what was asked; never a bug."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("a WorkspaceError needs at least one Problem")
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class HostError(WorkspaceError):
    """The machine cannot do what was asked."""


class ConfigError(WorkspaceError):
    """A recipe or an override is wrong."""


class DataError(WorkspaceError):
    """A data file is missing or holds something unexpected."""


class ModelError(WorkspaceError):
    """A model cannot be found, read or trusted."""


class RunError(WorkspaceError):
    """A run folder, a checkpoint or a running job is not as it should be."""


def print_warning(problem: Problem) -> None:
    """Print a problem that does not stop the command to stderr, as `warning:` and `fix:`."""
    print(problem._as("warning"), file=sys.stderr, flush=True)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelled `word` most likely meant, or None if none is close."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its class name if the message is empty."""
    return str(error).strip().split("\n")[0] or type(error).__name__
