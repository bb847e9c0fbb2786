"""Starting one process a device on this machine, and seeing all of them to the end.

They get the environment that torchrun would give them. It is not torchrun because that one passes Ctrl-C on twice, and
a second one means at once; and because here a process that dies is named within a tenth of a second.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from app.errors import Problem, RunError
from app.finetune.signals import STOP, Stopped

LINES = 30  # of a process that failed, where it is not the first, whose output is shown as it comes
POLL = 0.1  # seconds between looks at the processes
GRACE = 30.0  # seconds that they have for a last checkpoint after a signal
SAID_WHY = (2, 128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes of a process that has explained itself


def launch(argv: Sequence[str], processes: int) -> int:
    """Run `app ARGV` in so many processes, and wait; 0 when all have ended well.

    Raises RunError naming a process that died, after ending the others; Stopped when a signal came and was passed on.
    """
    port = free_port()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    common = {
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // processes))),
    }
    print(f"one process for each of {processes} devices, meeting at port {port}", file=sys.stderr)
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


def free_port() -> int:
    """A TCP port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _watch(started: Sequence[subprocess.Popen[bytes]], said: Sequence[IO[bytes] | None]) -> int:
    """Wait for all; on the first that fails end the others at once, for they cannot go on without it."""
    while True:
        codes = [process.poll() for process in started]
        if any(codes):
            # One that dies takes others with it, which then end with our exit code of 2: the lowest code was first.
            code, rank = min((code, rank) for rank, code in enumerate(codes) if code)
            if file := said[rank]:
                file.seek(0)
                print(*file.read().decode(errors="replace").splitlines()[-LINES:], sep="\n", file=sys.stderr)
            if code in SAID_WHY:
                return code
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            what = f"process {rank} of {len(started)} {how}; the others were ended"
            fix = "see above what it said; `app train --resume RUN` goes on from the last checkpoint"
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
    """Pass a signal on and give the processes time for their last checkpoint."""
    for process in started:
        if process.poll() is None:
            process.send_signal(signum)
    until = time.monotonic() + GRACE
    while any(process.poll() is None for process in started) and time.monotonic() < until:
        time.sleep(POLL)
