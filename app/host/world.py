"""The one seam between the code and the machine: commands, files, environment, disk.

Everything that looks at a host takes a `World`, so that tests hand it a recorded machine instead of this one.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
        return self.code == 0


class World:
    """The machine this process runs on. Reads only: nothing here changes it."""

    @property
    def env(self) -> Mapping[str, str]:
        return os.environ

    def run(self, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        """Run a command that only looks, and return what it said; never raises, never outlasts `timeout` seconds."""
        try:
            done = subprocess.run(
                list(argv), capture_output=True, text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return Completed(TIMED_OUT, err=f"{argv[0]} gave no answer within {timeout:g} s")
        except OSError as error:
            return Completed(NOT_FOUND, err=f"{argv[0]}: {error.strerror}")
        return Completed(done.returncode, done.stdout, done.stderr)

    def which(self, name: str) -> str | None:
        """Path of a program on PATH."""
        return shutil.which(name)

    def read(self, path: str) -> str | None:
        """Text of a file, or None where it cannot be read."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether a file, folder, socket or device node is there."""
        return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a parent may not be entered

    def glob(self, pattern: str) -> list[str]:
        """Paths that match an absolute glob pattern, sorted."""
        root = Path(pattern).anchor
        return sorted(str(p) for p in Path(root).glob(pattern[len(root) :]))

    def free_bytes(self, path: str) -> int | None:
        """Free bytes on the disk that holds `path` or its nearest existing parent."""
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
        """Processor architecture as the kernel names it: `x86_64`, `aarch64`, `arm64`."""
        return platform.machine()
