"""Start one process for each device of this machine, and wait for all of them.

They get the ranks that torchrun would give them. This is not torchrun, because torchrun passes Ctrl-C on twice, and
here a second one means "at once"; because a process that dies is reported within a tenth of a second; and because
torchrun's processes meet at a port that is open to the network. These meet in a private file, on the loopback only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from app.errors import Problem, RunError
from app.finetune.distributed.processes import MEETING_FILE
from app.hardware.cpu import usable_cores
from app.signals import STOP, Stopped

LINES = 30  # of the output of a failed process; that of rank 0 is shown as it comes
POLL = 0.1  # seconds between two checks of the processes
GRACE = 30.0  # seconds for a last checkpoint after a signal
EXPLAINED = (2, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes of a process that has printed the reason


def launch(argv: Sequence[str], processes: int) -> int:
    """Run `app ARGV` in `processes` processes and return their exit code: 0 if all succeeded.

    Raises RunError with the process that died, after ending the others; Stopped after passing a signal on.
    """
    folder = Path(tempfile.mkdtemp(prefix="app-train-"))  # 0700: who can write the file can run code in the processes
    common = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        MEETING_FILE: str(folder / "meeting"),
        **loopback_only(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, usable_cores() // processes))),
    }
    print(f"one process for each of {processes} devices", file=sys.stderr)
    said: list[IO[bytes] | None] = [None, *(tempfile.TemporaryFile() for _ in range(1, processes))]  # noqa: SIM115
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "app.cli", *argv],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=file,
            stderr=file,
            start_new_session=True,  # so that Ctrl-C in a terminal comes to us alone, and from us to them once
        )
        for rank, file in enumerate(said)
    ]

    def kill_and_exit(code: int) -> None:
        _kill(started)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)

    STOP.at_once = kill_and_exit
    try:
        return _watch(started, said)
    except Stopped as stopped:
        _end(started, stopped.signum)
        raise
    finally:
        STOP.at_once = os._exit
        _kill(started)
        shutil.rmtree(folder, ignore_errors=True)


def loopback_only() -> dict[str, str]:
    """Return the variables that bind the sockets of gloo and NCCL to the loopback, unless the user has set them."""
    names = {name for _, name in socket.if_nameindex()}
    loopback = next((name for name in ("lo", "lo0") if name in names), None)  # Linux's, macOS's
    variables = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
    return {name: loopback for name in variables if loopback and name not in os.environ}


def _watch(started: Sequence[subprocess.Popen[bytes]], said: Sequence[IO[bytes] | None]) -> int:
    """Wait for all processes. If one fails, return or raise at once: the others cannot continue without it."""
    while True:
        codes = [process.poll() for process in started]
        if any(codes):
            # A process that dies makes others exit with code 2, so the lowest code was first.
            code, rank = min((code, rank) for rank, code in enumerate(codes) if code)
            if file := said[rank]:
                file.seek(0)
                print(*file.read().decode(errors="replace").splitlines()[-LINES:], sep="\n", file=sys.stderr)
            if code in EXPLAINED:
                return code
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            what = f"process {rank} of {len(started)} {how}; the others were ended"
            fix = "see its output above; `app train --resume RUN` continues from the last checkpoint"
            raise RunError(Problem(what, fix))
        if all(code == 0 for code in codes):
            return 0
        time.sleep(POLL)


def _kill(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def _end(started: Sequence[subprocess.Popen[bytes]], signum: int) -> None:
    """Pass a signal on, and wait up to `GRACE` seconds for the last checkpoints."""
    for process in started:
        if process.poll() is None:
            process.send_signal(signum)
    until = time.monotonic() + GRACE
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        time.sleep(POLL)
