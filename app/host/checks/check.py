"""Define checks, run a list of them and show the results: a table for people, JSON for programs.

A check is one small function that takes a context and returns an `Answer`:

    @check("disk", needs="a disk", source="docker/Dockerfile: sizes of the stages")
    def disk(host: Host) -> Answer:
        "Is there room for the image?"
        return passed("81 GB free")

Standard library only: `invoke doctor` runs it on the host's Python.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Generic, TextIO, TypeVar

Context = TypeVar("Context")

STATUSES = ("pass", "warn", "fail", "skip")
SCHEMA = 1  # version of the JSON report; a field may be added under the same number, never renamed or dropped
BUG = "this is a bug in the check, not in your machine: report it with this line"


@dataclass(frozen=True)
class Answer:
    """The outcome of a check: one of `STATUSES`, what was found, and for `warn` and `fail` what to type or do."""

    status: str
    detail: str
    fix: str = ""


def passed(detail: str) -> Answer:
    return Answer("pass", detail)


def warned(detail: str, fix: str) -> Answer:
    return Answer("warn", detail, fix)


def failed(detail: str, fix: str) -> Answer:
    return Answer("fail", detail, fix)


def skipped(reason: str) -> Answer:
    return Answer("skip", reason)


@dataclass(frozen=True)
class Check(Generic[Context]):
    """A named function that checks one thing.

    `needs` is what must be present, in words, or the check is skipped; `source` is the document behind the rule;
    `limit` is the time limit in seconds; `step` numbers the ten steps of `app doctor`, 0 for other checks; `quick`
    checks are cheap enough for a health check.
    """

    name: str
    look: Callable[[Context], Answer]
    needs: str = ""
    source: str = ""
    limit: float = 5.0
    step: int = 0
    quick: bool = False

    @property
    def about(self) -> str:
        """What it checks: the docstring of its function, on one line."""
        return " ".join((inspect.getdoc(self.look) or "").split())


def check(
    name: str, *, needs: str = "", source: str = "", limit: float = 5.0, step: int = 0, quick: bool = False
) -> Callable[[Callable[[Context], Answer]], Check[Context]]:
    """Return a decorator that makes a `Check` of a function."""

    def wrap(look: Callable[[Context], Answer]) -> Check[Context]:
        return Check(name, look, needs, source, limit, step, quick)

    return wrap


@dataclass(frozen=True)
class Result:
    """A check's answer with its name, step, source and duration in seconds."""

    name: str
    status: str
    detail: str
    fix: str = ""
    source: str = ""
    step: int = 0
    seconds: float = 0.0


def result(check: Check[Any], answer: Answer, seconds: float) -> Result:
    """Return the result of a check that gave this answer; only a warning or failure names the source."""
    source = check.source if answer.status in ("warn", "fail") else ""
    return Result(check.name, answer.status, answer.detail, answer.fix, source, check.step, round(seconds, 3))


def run_check(check: Check[Context], context: Context) -> Answer:
    """Run one check in this thread; an exception becomes a failure that is reported as a bug of the check."""
    try:
        return check.look(context)
    except Exception as error:
        return failed(f"the check itself broke: {type(error).__name__}: {error}", BUG)


def timed_out(check: Check[Any]) -> Answer:
    """Return the answer for a check that exceeded its time limit."""
    return failed(
        f"no answer within {check.limit:g} s", "something that it reads or calls hangs: see what it needs, then retry"
    )


def run(checks: Iterable[Check[Context]], context: Context) -> Iterator[Result]:
    """Run each check in its own thread and yield its result as soon as it ends.

    A check that exceeds its time limit is reported and abandoned: its daemon thread ends with the process.
    """
    for each in checks:
        answers: list[Answer] = []
        begin = time.perf_counter()
        thread = threading.Thread(target=lambda c=each, a=answers: a.append(run_check(c, context)), daemon=True)
        thread.start()
        thread.join(each.limit)
        yield result(each, answers[0] if answers else timed_out(each), time.perf_counter() - begin)


def verdict(results: Sequence[Result]) -> str:
    """Return `fail` if any check failed, else `warn` if any warned, else `pass`."""
    statuses = {r.status for r in results}
    return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"


def exit_code(results: Sequence[Result], strict: bool) -> int:
    """Return 2 for a failure, 1 for a warning if `strict`, else 0."""
    worst = verdict(results)
    return 2 if worst == "fail" else 1 if worst == "warn" and strict else 0


def report(kind: str, results: Sequence[Result], conclusion: str) -> str:
    """Return the JSON report, one document: schema, kind (`host` or `inside`), verdict, conclusion, counts, results."""
    counts = {status: sum(r.status == status for r in results) for status in STATUSES}
    return json.dumps(
        {
            "schema": SCHEMA,
            "kind": kind,
            "verdict": verdict(results),
            "conclusion": conclusion,
            "counts": counts,
            "results": [asdict(r) for r in results],
        },
        indent=2,
    )


COLOURS = {"pass": "\033[32m", "warn": "\033[33m", "fail": "\033[31m", "skip": "\033[2m"}
RESET = "\033[0m"


class Table:
    """Prints each result as it comes: status, name and detail; below a warning or failure its fix and source."""

    def __init__(self, stream: TextIO, lines: Iterable[Check[Any] | Result]) -> None:
        """`lines` are the checks to run or their results; they set the width of the name column."""
        lines = list(lines)
        self.stream = stream
        self.numbered = any(line.step for line in lines)
        self.name_width = max((len(self._name(line)) for line in lines), default=0)
        terminal = stream.isatty()
        self.colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.width = shutil.get_terminal_size((120, 24)).columns if terminal else 0  # 0: in a file, do not fold

    def show(self, r: Result) -> None:
        """Print one result."""
        margin = 8 + self.name_width + 2
        status = f"{COLOURS[r.status]}{r.status}{RESET}" if self.colour else r.status
        lines = [f"  {status}  {self._name(r):<{self.name_width}}  {self._fold(r.detail, margin)}"]
        for label, text in (("fix", r.fix), ("see", r.source)):
            if text:
                lines.append(f"{'':{margin}}{label}: {self._fold(text, margin + 5)}")
        print("\n".join(lines), file=self.stream, flush=True)

    def _name(self, line: Check[Any] | Result) -> str:
        return f"{line.step or '':>2} {line.name}" if self.numbered else line.name

    def _fold(self, text: str, margin: int) -> str:
        """Return the text folded to the terminal's width, after a left margin; commands and paths are not broken."""
        room = self.width - margin
        if self.width == 0 or room < 30:
            return text
        folded = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        return f"\n{'':{margin}}".join(folded)
