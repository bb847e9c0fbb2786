"""SIGTERM and Ctrl-C: the training stops at once where that is safe, else at the end of the section where it is not.

The first signal raises `Stopped` in the main thread, out of whatever runs there: a long step, an evaluation. Between
`hold` and `release` weights and optimizer are changing, or a checkpoint is being written; there the signal waits.
A second Ctrl-C ends the process on the spot.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(BaseException):
    """A signal asked the process to end. No `Exception`, so that nothing on its way takes it for an error; no
    `KeyboardInterrupt` either, which Lightning's Trainer would keep to itself."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_code = 128 + signum  # what a shell reports: 143 for SIGTERM, 130 for Ctrl-C


class Stop:
    """What has been asked for, and whether it has to wait."""

    def __init__(self) -> None:
        self.signum = 0
        """The signal that came; 0 is none."""
        self.held = 0
        self.active = False
        self.patient = False
        """Whether a second Ctrl-C waits too: among many processes one must not leave the others alone."""
        self.at_once: Callable[[int], None] = os._exit
        """What a second Ctrl-C does, with the exit code."""

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals over for the length of a block. Main thread only. A stop leaves it as SystemExit."""
        before = {each: signal.getsignal(each) for each in SIGNALS}
        self.active = True
        self.take_over()
        try:
            yield
        except Stopped as stopped:
            raise SystemExit(stopped.exit_code) from stopped
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
            self.signum = self.held = 0
            self.active = False

    def take_over(self) -> None:
        """Put our handlers in place again where a library has put its own there meanwhile."""
        if self.active:
            for each in SIGNALS:
                signal.signal(each, self._on_signal)

    def hold(self) -> None:
        """From here on a signal waits."""
        self.held += 1

    def release(self) -> None:
        """Undo one `hold`. Raises Stopped where a signal came meanwhile and nothing else holds."""
        self.held -= 1
        self.check()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """`hold` for the length of a block."""
        self.hold()
        try:
            yield
        finally:
            self.held -= 1
        self.check()

    def check(self) -> None:
        """Raise Stopped where a signal waits and nothing holds it."""
        if self.signum and not self.held:
            raise Stopped(self.signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> Any:
        if self.signum and signum == signal.SIGINT and not self.patient:
            self.at_once(128 + signum)
        if not self.signum:
            self.signum = signum
            self.check()


STOP = Stop()  # one for the process, as signals are
