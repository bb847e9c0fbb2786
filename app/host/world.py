"""Access to the machine for everything that detects a host: commands, files, environment and disk, read only.

Functions that read the machine take a `World`, so that tests can pass a recorded machine instead.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.host.dotenv import with_dotenv

NOT_FOUND = 127  # what a shell returns for a command that does not exist
TIMED_OUT = 124  # what coreutils' timeout returns
_GRACE = 0.5  # seconds that a killed command has to end; one that waits in the kernel (state D) never does

# Commands that could not be killed. Kept, because the end of their Popen object would wait for them or warn.
_abandoned: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Completed:
    """A finished command: exit code (negative: the signal that ended it), standard output, standard error."""

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

        The code is `TIMED_OUT` after a timeout and `NOT_FOUND` if the command cannot be started. A command that cannot
        even be killed, because it waits for a device, is left to the system.
        """
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            return Completed(NOT_FOUND, err=f"{argv[0]}: {error.strerror}")
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            ended = _kill(process)
            stays = "" if ended else " and cannot be killed"
            return Completed(TIMED_OUT, err=f"{argv[0]} did not answer within {timeout:g} s{stays}")
        except BaseException:  # Ctrl-C
            process.kill()
            _abandoned.append(process)
            raise
        return Completed(process.returncode, out, err)

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

    def is_file(self, path: str) -> bool:
        """Return whether a regular file exists there."""
        return os.path.isfile(path)  # noqa: PTH113 - as above

    def open_to_all(self, path: str) -> bool:
        """Return whether any user may enter a folder, by its mode; True if that is not known."""
        try:
            return bool(Path(path).stat().st_mode & 0o001)
        except OSError:
            return True

    def absolute(self, path: str) -> str:
        """Return the absolute path that a user means: `~` is home, a relative path starts at the working folder."""
        return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - Path keeps `..`

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

    def port_in_use(self, address: str, port: int) -> bool:
        """Return whether another program has a TCP port of this IPv4 address: it is bound for a moment.

        Any other obstacle, such as a port that only root may bind, is not the port's own.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Docker: a closed connection does not count
            try:
                probe.bind((address, port))
            except OSError as error:
                return error.errno == errno.EADDRINUSE
        return False

    @property
    def cores(self) -> int:
        """The processor cores that this process may use, without cgroup limits."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def system(self) -> str:
        """`Linux`, `Darwin` or `Windows`."""
        return platform.system()

    @property
    def machine(self) -> str:
        """Processor architecture by the kernel's name: `x86_64`, `aarch64`, `arm64`."""
        return platform.machine()


def _kill(process: subprocess.Popen[str]) -> bool:
    """Kill a process and return whether it ended; its output is lost."""
    process.kill()
    try:
        process.communicate(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        _abandoned.append(process)
        return process.poll() is not None
    return True
