"""Run checks in a process that may die or hang: that fails one check, and the report is still whole."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Any

from app.doctor.context import explained_failure
from app.host.checks.check import Answer, Check, Result, failed, result, skipped, timed_out
from app.host.probe.machine import ROOT

WORKER = (sys.executable, "-m", "app.doctor.isolated_worker")
STARTUP = 30.0  # seconds until a worker must have begun its first check: an interpreter and our own modules


def run_isolated(checks: Sequence[Check[Any]], worker: Sequence[str] = WORKER) -> Iterator[Result]:
    """Yield each check's result in order. `worker`: a command with the protocol of `app.doctor.isolated_worker`.

    If the process ends during a check, the check fails with the last line that the process wrote; if the check's limit
    passes, it fails as overdue. A new process continues with the checks after it. If a process does not start at all,
    the first check fails and the others are skipped.
    """
    left = list(checks)
    while left:
        begun = False
        with _Process(worker, [c.name for c in left]) as process:
            while left:
                check, begin = left[0], time.perf_counter()
                answer = process.answer(check, check.limit if begun else check.limit + STARTUP)
                begun = begun or process.begun
                yield result(check, answer, time.perf_counter() - begin)
                left.pop(0)
                if process.over:
                    break
        if not begun:
            for check in left:
                yield result(check, skipped("the process that tries torch does not start"), 0.0)
            return


class _Process:
    """A worker process and the lines that it writes."""

    def __init__(self, worker: Sequence[str], names: Sequence[str]) -> None:
        self.begun = False
        self.over = False
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [*worker, *names],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def answer(self, check: Check[Any], limit: float) -> Answer:
        """Return this check's answer within `limit` seconds. Sets `over` if the process ended or has to be replaced."""
        deadline = time.monotonic() + limit
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                self.over = True
                return timed_out(check)
            if line is None:
                self.over = True
                return self._end()
            message = _message(line)
            if "begin" in message:
                if not self.begun:
                    self.begun, deadline = True, time.monotonic() + check.limit
            elif message.get("name") == check.name:
                return Answer(message["status"], message["detail"], message["fix"])

    def _end(self) -> Answer:
        """Return the failure of a process that ended before its answer."""
        code = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        how = (
            f"the process ended by {signal.Signals(-code).name}" if code < 0 else f"the process ended with code {code}"
        )
        last = text.splitlines()[-1] if text else "it printed nothing"
        fix = explained_failure(text[-4000:], "`app doctor explain` with the text").fix
        return failed(f"{how}: {last}", fix)


def _message(line: str) -> dict[str, Any]:
    """Return a line of the protocol; empty for what a .pth file or sitecustomize printed before the worker began."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
