"""What the workspace says and runs: every command is printed before it runs, all of it on standard error.

Standard output belongs to the command that the user asked for, so that `invoke up --command ... > file` holds no more.
"""

from __future__ import annotations

import codecs
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from app.errors import HostError, Problem
from app.host.backends.commands import Command
from app.host.explain import LONGEST, advice
from app.host.probe.machine import ROOT
from app.host.probe.uv import BESIDE, NO_UV


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def at_terminal() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Runner:
    """Runs commands in the project's root, or with `dry` only prints them."""

    def __init__(self, dry: bool = False, root: Path = ROOT) -> None:
        self.dry = dry
        self.root = root

    def run(self, command: Command, on_signal: Callable[[int], None] | None = None) -> int:
        """Print, run in the foreground, return the exit code (128 + n after signal n).

        Ctrl-C reaches the command from the terminal; this process outlives it, so that a training run can save first.
        With `on_signal` the command is shielded from the terminal and the callback passes the signal on instead.
        """
        say(f"$ {command.line}")
        if self.dry:
            return 0
        with _foreground(self.root, command, on_signal) as process:
            return _exit_code(process)

    def must(self, command: Command, problem: Problem) -> None:
        """Run; where it fails say what is known of its message and raise `HostError`; KeyboardInterrupt for Ctrl-C."""
        code, said = self.observe(command)
        if code == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        if code:
            if known := advice(said):
                say(f"\n{known}\n")
            raise HostError(problem)

    def observe(self, command: Command) -> tuple[int, str]:
        """Run, and return the exit code with what it wrote to standard error, to explain a failure by.

        Where standard error is a terminal the command gets one too, of the same size: on a pipe it draws no progress.
        """
        say(f"$ {command.line}")
        if self.dry:
            return 0, ""
        ours, theirs = _terminal(os.get_terminal_size(sys.stderr.fileno())) if sys.stderr.isatty() else os.pipe()
        with (
            os.fdopen(ours, "rb", buffering=0),
            os.fdopen(theirs, "wb", buffering=0) as given,
            _foreground(self.root, command, None, stderr=theirs) as process,
        ):
            given.close()  # the command has it now, and its end is the end of what can be read
            said = _copied(ours)
            return _exit_code(process), said


def _terminal(size: os.terminal_size) -> tuple[int, int]:
    """A pseudo-terminal: the side to read and the side to give away."""
    import fcntl  # none of these on Windows, where this module is still imported
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST  # line ends as they are: the real terminal makes its own of them
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    return ours, theirs


def _copied(source: int) -> str:
    """Copy to standard error as it comes, until nobody can write any more; returns the end of it, colours and all."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    said = ""
    while data := _read(source):
        text = decode(data)
        sys.stderr.write(text)
        sys.stderr.flush()
        said += text
        if len(said) > 2 * LONGEST:  # an hour of a progress display is a lot of text
            said = said[-LONGEST:]
    return said


def _read(source: int) -> bytes:
    try:
        return os.read(source, 65536)
    except OSError:  # EIO: how a pseudo-terminal ends on Linux
        return b""


def _exit_code(process: subprocess.Popen[str]) -> int:
    code = process.wait()
    return code if code >= 0 else 128 - code


def _environment(command: Command) -> dict[str, str]:
    """This process's own, the command's on top; PATH ends with the folder of the Python that runs invoke.

    `pip install invoke uv` into an environment that is not activated puts uv there.
    """
    own = {name: value for name, value in os.environ.items() if name not in command.without}
    env = {**own, **command.background, **command.env}
    return {**env, "PATH": os.pathsep.join([env.get("PATH", ""), BESIDE])}


def _not_found(command: Command) -> HostError:
    name = command.argv[0]
    if name == "uv":
        return HostError(NO_UV)
    return HostError(Problem(f"there is no program {name!r}", f"install {name}, or correct its name"))


@contextmanager
def _foreground(
    root: Path, command: Command, on_signal: Callable[[int], None] | None, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a command; until the block ends SIGTERM goes on to it, and SIGINT where the terminal does not send it."""
    started: list[subprocess.Popen[str]] = []
    early: list[int] = []  # what came before there was a process

    def pass_on(number: int, _: FrameType | None = None) -> None:
        if not started:
            early.append(number)
        elif on_signal is not None:
            on_signal(number)
        elif number == signal.SIGTERM:
            started[0].send_signal(number)

    # Before the command starts, so that no signal finds this process with its default, which is to die.
    previous = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        process = subprocess.Popen(
            command.argv,
            env=_environment(command),
            cwd=root,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=on_signal is not None,
        )
        started.append(process)
        for number in early:
            process.send_signal(number)
        yield process
    except FileNotFoundError:
        raise _not_found(command) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
