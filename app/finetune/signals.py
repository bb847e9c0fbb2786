"""SIGTERM and Ctrl-C: stop at once if that is safe, else at the end of the section that must not be interrupted.

The first signal raises `Stopped` in the main thread, out of whatever runs there: a long step, an evaluation. Inside
`holding` weights and optimizer change, or a checkpoint is written; there the signal waits. A second Ctrl-C ends the
process immediately.
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
    """A signal asked the process to end. Not an `Exception`, so that no handler on its way takes it for an error."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum
        self.exit_code = 128 + signum  # what a shell reports: 143 for SIGTERM, 130 for Ctrl-C


class Stop:
    """Which signal came, and whether it has to wait."""

    def __init__(self) -> None:
        self.signum = 0
        """The signal that came; 0 if none did."""
        self.held = 0
        self.active = False
        self.patient = False
        """Whether a second Ctrl-C waits too: among many processes one must not leave the others alone."""
        self.at_once: Callable[[int], None] = os._exit
        """What a second Ctrl-C does, with the exit code."""

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals for the length of a block, in the main thread. A stop leaves the block as SystemExit."""
        before = {each: signal.getsignal(each) for each in SIGNALS}
        self.active = True
        for each in SIGNALS:
            signal.signal(each, self._on_signal)
        try:
            yield
        except Stopped as stopped:
            raise SystemExit(stopped.exit_code) from stopped
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
            self.signum = self.held = 0
            self.active = False

    def hold(self) -> None:
        """Let signals wait from here on."""
        self.held += 1

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Let signals wait for the length of a block. Raises Stopped at its end if one came and nothing else holds."""
        self.hold()
        try:
            yield
        finally:
            self.held -= 1
        self.check()

    def check(self) -> None:
        """Raise Stopped if a signal waits and nothing holds it."""
        if self.signum and not self.held:
            raise Stopped(self.signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> Any:
        if self.signum and signum == signal.SIGINT and not self.patient:
            self.at_once(128 + signum)
        if not self.signum:
            self.signum = signum
            self.check()


STOP = Stop()  # one for the process, as signals are
