"""Run commands and print each one before it runs, on stderr.

Standard output belongs to the user's command, so that `invoke up --command ... > file` captures nothing else.
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
from dataclasses import replace
from pathlib import Path
from types import FrameType

from app.errors import HostError, Problem
from app.host.backends.commands import Command
from app.host.explain import LONGEST, advice
from app.host.probe.machine import ROOT
from app.host.probe.pythons import NO_UV, PYTHON_BIN


def say(text: str) -> None:
    """Print a line to stderr at once."""
    print(text, file=sys.stderr, flush=True)


def at_terminal() -> bool:
    """Return whether both standard input and standard output are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def agrees(question: str, yes: bool, undone: str) -> bool:
    """Ask and return whether the answer is yes; `yes` answers it. Raises HostError if nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise HostError(Problem(f"there is no terminal to ask at, so {undone}", "add `--yes`"))
    say(question)
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        raise HostError(Problem(f"there was no answer, so {undone}", "answer y, or add `--yes`")) from None


class Runner:
    """Runs commands in the project's root; if `dry`, only prints them."""

    def __init__(self, dry: bool = False, root: Path = ROOT) -> None:
        self.dry = dry
        self.root = root

    def run(self, command: Command, on_signal: Callable[[int], None] | None = None) -> int:
        """Print a command, run it in the foreground and return its exit code (128 + n after signal n).

        The terminal sends Ctrl-C to the command; this process waits for it to end, so that a training run can save.
        With `on_signal` the command gets its own session, out of the terminal's reach, and the callback passes signals
        on.
        """
        say(f"$ {command.line}")
        if self.dry:
            return 0
        with _foreground(self.root, command, on_signal) as process:
            return _exit_code(process)

    def must(self, command: Command, problem: Problem) -> None:
        """Run a command that has to succeed. If its error message is known, print the explanation.

        Raises:
            HostError: it failed; the fix is `problem`'s, and also how to look up the message if it is not known.
            KeyboardInterrupt: it was stopped by Ctrl-C.
        """
        code, errors = self.observe(command)
        if code == 128 + signal.SIGINT:
            raise KeyboardInterrupt
        if code:
            known = advice(errors)
            if known is None:
                look_up = f"give the message to `invoke doctor --explain -`, or {problem.fix}"
                raise HostError(replace(problem, fix=look_up))
            say(f"\n{known}\n")
            raise HostError(problem)

    def observe(self, command: Command) -> tuple[int, str]:
        """Run a command; return its exit code and the end of what it wrote to stderr.

        If stderr is a terminal, the command gets a terminal of the same size: on a pipe it would draw no progress bar.
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
            given.close()  # the command holds the only copy, so that reading ends when the command does
            errors = _copied(ours)
            return _exit_code(process), errors


def _terminal(size: os.terminal_size) -> tuple[int, int]:
    """Open a pseudo-terminal; return the file descriptors of the side to read and of the command's side."""
    import fcntl  # all three are missing on Windows, which still imports this module
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST  # keep line ends: the real terminal converts them
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    return ours, theirs


def _copied(source: int) -> str:
    """Copy a file descriptor to stderr until its end; return the end of the text, colour codes included."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    copied = ""
    while data := _read(source):
        text = decode(data)
        sys.stderr.write(text)
        sys.stderr.flush()
        copied += text
        if len(copied) > 2 * LONGEST:  # an hour of progress bars is a lot of text
            copied = copied[-LONGEST:]
    return copied


def _read(source: int) -> bytes:
    try:
        return os.read(source, 65536)
    except OSError:  # EIO: the end of a pseudo-terminal on Linux
        return b""


def _exit_code(process: subprocess.Popen[str]) -> int:
    code = process.wait()
    return code if code >= 0 else 128 - code


def _environment(command: Command) -> dict[str, str]:
    """Return this process's environment with the command's variables over it.

    PATH ends with the folder of the Python that runs invoke: `pip install invoke uv` into an environment that is not
    activated puts uv there.
    """
    own = {name: value for name, value in os.environ.items() if name not in command.without}
    env = {**own, **command.background, **command.env}
    return {**env, "PATH": os.pathsep.join([env.get("PATH", ""), PYTHON_BIN])}


def _not_found(command: Command) -> HostError:
    name = command.argv[0]
    if name == "uv":
        return HostError(NO_UV)
    return HostError(Problem(f"there is no program {name!r}", f"install {name}, or correct its name"))


@contextmanager
def _foreground(
    root: Path, command: Command, on_signal: Callable[[int], None] | None, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a command. Until the block ends, pass SIGTERM on to it, and SIGINT if the terminal does not send it."""
    started: list[subprocess.Popen[str]] = []
    early: list[int] = []  # signals that came before the process was started

    def pass_on(number: int, _: FrameType | None = None) -> None:
        if not started:
            early.append(number)
        elif on_signal is not None:
            on_signal(number)
        elif number == signal.SIGTERM:
            started[0].send_signal(number)

    # Before the command starts: until then a signal would end this process.
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
