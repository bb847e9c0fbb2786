"""Access to the machine for everything that detects a host: commands, files, environment and disk, read only.

Functions that read the machine take a `World`, so that tests can pass a recorded machine instead.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.host.dotenv import with_dotenv

NOT_FOUND = 127  # what a shell returns for a command that does not exist
TIMED_OUT = 124  # what coreutils' timeout returns


@dataclass(frozen=True)
class Completed:
    """A finished command: exit code, standard output, standard error."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.code == 0


class World:
    """The machine that this process runs on. Its methods only read."""

    def __init__(self) -> None:
        self._variables = with_dotenv(os.environ, Path(__file__).resolve().parents[2])

    @property
    def env(self) -> Mapping[str, str]:
        """The environment variables, and the settings in the checkout's `.env`."""
        return self._variables

    def run(self, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        """Run a read-only command for at most `timeout` seconds and return its output. Never raises.

        The code is `TIMED_OUT` after a timeout and `NOT_FOUND` if the command cannot be started.
        """
        try:
            done = subprocess.run(
                list(argv), capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return Completed(TIMED_OUT, err=f"{argv[0]} did not answer within {timeout:g} s")
        except OSError as error:
            return Completed(NOT_FOUND, err=f"{argv[0]}: {error.strerror}")
        return Completed(done.returncode, done.stdout, done.stderr)

    def which(self, name: str) -> str | None:
        """Return the path of a program on PATH, or None if there is none."""
        return shutil.which(name)

    def read(self, path: str) -> str | None:
        """Return the text of a file, or None if it cannot be read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Return whether a file, folder, socket or device node exists."""
        return os.path.exists(path)  # noqa: PTH110 - Path.exists raises if a parent folder is not readable

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match an absolute glob pattern, sorted."""
        root = Path(pattern).anchor
        return sorted(str(p) for p in Path(root).glob(pattern[len(root) :]))

    def free_bytes(self, path: str) -> int | None:
        """Return the free bytes on the disk of `path` or of its nearest existing parent; None if unknown."""
        place = Path(path)
        while not self.exists(str(place)) and place != place.parent:
            place = place.parent
        try:
            return shutil.disk_usage(place).free
        except OSError:
            return None

    @property
    def system(self) -> str:
        """`Linux`, `Darwin` or `Windows`."""
        return platform.system()

    @property
    def machine(self) -> str:
        """Processor architecture by the kernel's name: `x86_64`, `aarch64`, `arm64`."""
        return platform.machine()
