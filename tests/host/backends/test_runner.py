"""Commands in the foreground: printed, their exit codes kept, their signals passed on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from app.errors import HostError, Problem
from app.host.backends.commands import Command
from app.host.backends.runner import Runner

ROOT = Path(__file__).parents[3]


def test_a_command_is_printed_on_stderr_and_its_exit_code_returned(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = Command(("sh", "-c", 'echo "$NAME in $(pwd)"; exit 7'), {"NAME": "x y"})
    assert Runner(root=tmp_path).run(command) == 7
    out, err = capfd.readouterr()
    assert out == f"x y in {tmp_path}\n"
    assert err == f"$ {command.line}\n"


def test_dry_prints_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = Command(("touch", "made"))
    assert Runner(dry=True, root=tmp_path).run(command) == 0
    assert capfd.readouterr().err == "$ touch made\n"
    assert list(tmp_path.iterdir()) == []


def test_a_death_by_signal_is_128_and_its_number() -> None:
    assert Runner().run(Command(("sh", "-c", "kill -9 $$"))) == 137


def test_a_program_that_is_not_there_is_the_users_error() -> None:
    with pytest.raises(HostError, match="there is no program 'no-such-program'"):
        Runner().run(Command(("no-such-program",)))


def test_must_tells_a_failure_from_a_ctrl_c() -> None:
    with pytest.raises(HostError, match="what"):
        Runner().must(Command(("false",)), Problem("what", "fix"))
    with pytest.raises(KeyboardInterrupt):
        Runner().must(Command(("sh", "-c", "exit 130")), Problem("what", "fix"))


def test_observe_shows_and_keeps_what_went_wrong(capfd: pytest.CaptureFixture[str]) -> None:
    assert Runner().observe(Command(("sh", "-c", "echo broken >&2; exit 3"))) == (3, "broken\n")
    assert "broken" in capfd.readouterr().err


def test_what_is_no_whole_line_or_no_text_is_shown_too(capfd: pytest.CaptureFixture[str]) -> None:
    assert Runner().observe(Command(("sh", "-c", "printf 'half\\377' >&2"))) == (0, "half\ufffd")
    assert "half" in capfd.readouterr().err


def at_a_terminal(program: str, lines: int, columns: int) -> tuple[str, str]:
    """Standard output of a Python program, and what a terminal that is its standard error shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-u", "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    out, _ = process.communicate(timeout=30)
    shown = b""
    with contextlib.suppress(OSError):  # EIO at the end
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    return out.decode(), shown.decode()


def test_at_a_terminal_a_command_draws_and_its_failure_is_explained() -> None:
    script = "test -t 2 && stty size <&2; printf '\\033[31mHash mismatch for \\033[0m`torch==2.0.1`\\n' >&2; exit 3"
    out, shown = at_a_terminal(
        "from app.errors import HostError, Problem\n"
        "from app.host.backends.commands import Command\n"
        "from app.host.backends.runner import Runner\n"
        f"command = Command(('sh', '-c', {script!r}))\n"
        "print(Runner().observe(command))\n"
        "try:\n    Runner().must(command, Problem('it failed', 'fix'))\n"
        "except HostError as error:\n    print(error)\n",
        33,
        101,
    )
    said = "\x1b[31mHash mismatch for \x1b[0m`torch==2.0.1`\n"
    assert out.splitlines() == ["33 101", str((3, said)), "33 101", "error: it failed", "  fix: fix"]
    assert said.replace("\n", "\r\n") in shown
    assert "hash-mismatch: A downloaded wheel is not the one" in shown


def test_sigterm_reaches_the_command_and_its_own_exit_code_comes_back() -> None:
    script = "trap 'exit 42' TERM; echo ready >&2; sleep 10 & wait"
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    assert Runner().run(Command(("bash", "-c", script))) == 42
    assert time.monotonic() - began < 5


def test_ctrl_c_leaves_the_command_time_to_finish() -> None:
    """As a terminal does it: the signal goes to the whole group, and the command saves before it ends."""
    program = (
        "from app.host.backends.runner import Runner\nfrom app.host.backends.commands import Command\n"
        "print(Runner().run(Command(('bash', '-c', \"trap 'sleep 0.5; exit 43' INT; echo up; sleep 10 & wait\"))))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.read() == "43\n"
    assert process.wait() == 0


def test_a_shielded_command_gets_its_signals_by_the_callback() -> None:
    got: list[int] = []
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert Runner().run(Command(("sleep", "0.8")), got.append) == 0
    assert got == [signal.SIGINT]
