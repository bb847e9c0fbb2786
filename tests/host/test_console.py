"""Commands in the foreground: printed, their exit codes kept, their signals passed on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.errors import HostError, Problem
from app.host.commands import Command
from app.host.console import Runner

ROOT = Path(__file__).parents[2]


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


def test_sigterm_reaches_the_command_and_its_own_exit_code_comes_back() -> None:
    script = "trap 'exit 42' TERM; echo ready >&2; sleep 10 & wait"
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    assert Runner().run(Command(("bash", "-c", script))) == 42
    assert time.monotonic() - began < 5


def test_ctrl_c_leaves_the_command_time_to_finish() -> None:
    """As a terminal does it: the signal goes to the whole group, and the command saves before it ends."""
    program = (
        "from app.host.console import Runner\nfrom app.host.commands import Command\n"
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
