"""What a check is, how a list of them is run, and how the results are shown: a table for people, JSON for programs.

A check is one small function that looks at something it is handed and returns an `Answer`:

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
    """What a check says: a status of `STATUSES`, what was seen, and for `warn` and `fail` what to type or do."""

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
    """A named look at one thing.

    `needs` says in words what must be there for it to run, else it skips; `source` is where the rule comes from;
    `limit` is its time limit in seconds; `step` numbers the ten steps of the inside run, 0 elsewhere; `quick` ones
    are cheap enough for a health check.
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
        """What the check finds out: its function's docstring, on one line."""
        return " ".join((inspect.getdoc(self.look) or "").split())


def check(
    name: str, *, needs: str = "", source: str = "", limit: float = 5.0, step: int = 0, quick: bool = False
) -> Callable[[Callable[[Context], Answer]], Check[Context]]:
    """Make a check of the function below."""

    def wrap(look: Callable[[Context], Answer]) -> Check[Context]:
        return Check(name, look, needs, source, limit, step, quick)

    return wrap


@dataclass(frozen=True)
class Result:
    """A check's answer with its name, step, source and the seconds it took."""

    name: str
    status: str
    detail: str
    fix: str = ""
    source: str = ""
    step: int = 0
    seconds: float = 0.0


def result(check: Check[Any], answer: Answer, seconds: float) -> Result:
    """Put a check and its answer together; the source stands beside what needs action only."""
    source = check.source if answer.status in ("warn", "fail") else ""
    return Result(check.name, answer.status, answer.detail, answer.fix, source, check.step, round(seconds, 3))


def ask(check: Check[Context], context: Context) -> Answer:
    """Run one check here and now; an exception becomes a failure that says it is a bug."""
    try:
        return check.look(context)
    except Exception as error:
        return failed(f"the check itself broke: {type(error).__name__}: {error}", BUG)


def overdue(check: Check[Any]) -> Answer:
    """The answer of a check that gave none within its limit."""
    return failed(
        f"no answer within {check.limit:g} s", "something it looked at hangs: look at what it needs, then try again"
    )


def run(checks: Iterable[Check[Context]], context: Context) -> Iterator[Result]:
    """Run each check in a thread of its own and yield its result as soon as it is there.

    A check that outlasts its limit is left behind (its thread is a daemon and dies with the process) and reported.
    """
    for each in checks:
        answers: list[Answer] = []
        begin = time.perf_counter()
        thread = threading.Thread(target=lambda c=each, a=answers: a.append(ask(c, context)), daemon=True)
        thread.start()
        thread.join(each.limit)
        yield result(each, answers[0] if answers else overdue(each), time.perf_counter() - begin)


def verdict(results: Sequence[Result]) -> str:
    """`fail` if one failed, else `warn` if one warned, else `pass`."""
    context = {r.status for r in results}
    return "fail" if "fail" in context else "warn" if "warn" in context else "pass"


def exit_code(results: Sequence[Result], strict: bool) -> int:
    """0 when all is well, 1 for a warning under `strict`, 2 for a failure."""
    worst = verdict(results)
    return 2 if worst == "fail" else 1 if worst == "warn" and strict else 0


def report(kind: str, results: Sequence[Result], conclusion: str) -> str:
    """The JSON report, one document: schema, kind (`host` or `inside`), verdict, conclusion, counts, results."""
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
    """Prints results line by line as they come: status, name, detail; below what needs action its fix and source."""

    def __init__(self, stream: TextIO, lines: Iterable[Check[Any] | Result]) -> None:
        """`lines` are the checks to come or their results: they set the width of the name column."""
        lines = list(lines)
        self.stream = stream
        self.numbered = any(line.step for line in lines)
        self.name_width = max((len(self._name(line)) for line in lines), default=0)
        terminal = stream.isatty()
        self.colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.width = shutil.get_terminal_size((120, 24)).columns if terminal else 0  # 0: a file wants whole lines

    def show(self, r: Result) -> None:
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
        """Fold text to the terminal's width under a left margin; commands and paths are not broken."""
        room = self.width - margin
        if self.width == 0 or room < 30:
            return text
        folded = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        return f"\n{'':{margin}}".join(folded)
