"""The time that a benchmark may take: what is left of it, and what was skipped and why."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.benchmark.results import Skipped
from app.errors import ConfigError, Problem, first_line

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_seconds(text: str) -> float:
    """Return the seconds in `60`, `60s`, `2m` or `1h`. Raises ConfigError if the text is anything else, or zero."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(
            Problem(f"--budget {text!r} is not a time", "give seconds or minutes: --budget 60s, --budget 5m")
        )
    return float(match[1]) * _UNITS[match[2]]


class Budget:
    """Counts down `seconds` from `started` (of `time.monotonic`), or from now, and collects what was skipped."""

    def __init__(self, seconds: float, started: float | None = None, skipped: list[Skipped] | None = None) -> None:
        self.seconds = seconds
        self.skipped: list[Skipped] = [] if skipped is None else skipped
        self._start = time.monotonic() if started is None else started

    def part(self, seconds: float) -> Budget:
        """Return a budget of at most `seconds` within this one. Both collect what was skipped in the same list."""
        return Budget(max(0.0, min(seconds, self.left)), skipped=self.skipped)

    @property
    def used(self) -> float:
        return time.monotonic() - self._start

    @property
    def left(self) -> float:
        return self.seconds - self.used

    def skip(self, name: str, reason: str) -> None:
        """Record that `name` was not measured, and why."""
        self.skipped.append(Skipped(name, reason))

    @contextmanager
    def guard(self, name: str) -> Iterator[None]:
        """Catch a RuntimeError of the block, such as one for lack of memory, and record `name` as skipped for it."""
        try:
            yield
        except RuntimeError as error:
            self.skip(name, first_line(error))

    def allows(self, name: str, seconds: float) -> bool:
        """Return whether `seconds` are left; if not, record `name` as skipped for lack of time."""
        if self.left >= seconds:
            return True
        left = f"{max(self.left, 0):.0f} s of its {self.seconds:.0f} s were left"
        self.skip(name, f"takes about {seconds:.0f} s and {left}: give a longer --budget")
        return False
