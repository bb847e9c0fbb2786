"""Explain a pasted error and how to fix it; used by `app doctor explain`, `invoke up` and `app train`.

The catalogue is `known_errors.json`, one entry per error. Its patterns are phrases of the message. Text and phrases are
both reduced to letters and digits before they are compared, so that line wraps (even inside a word), indentation, box
drawing, quotes and colours cannot hide a match; the prefixes of loggers are removed from each line first. Standard
library only: `invoke` uses it on the host's Python.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CATALOGUE = Path(__file__).with_name("known_errors.json")
GAP = 300  # most squashed characters between two phrases of a pattern: about four lines of a terminal
LONGEST = 2_000_000  # only so many characters of a pasted log are searched, from its end, which has the error


@dataclass(frozen=True)
class Known:
    """An entry of the catalogue.

    It matches if all phrases of one of its `patterns` occur in order, each at most `GAP` after the one before.
    `covers` names entries that are left out if this one matches, because they add nothing.
    """

    id: str
    patterns: tuple[tuple[str, ...], ...]
    means: str
    why: str
    type: tuple[str, ...]
    source: tuple[str, ...]
    covers: frozenset[str] = frozenset()


@lru_cache(maxsize=1)
def catalogue() -> tuple[Known, ...]:
    """Return the known errors, in the order of the file."""
    document = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    return tuple(
        Known(
            id=entry["id"],
            patterns=tuple(tuple(squash(phrase) for phrase in pattern) for pattern in entry["match"]),
            means=entry["means"],
            why=entry["why"],
            type=tuple(entry["type"]),
            source=tuple(entry["source"]),
            covers=frozenset(entry.get("covers", ())),
        )
        for entry in document["errors"]
    )


ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
ESCAPES = re.compile(r"\\+[nrt]")  # a newline inside a quoted message of Docker arrives as \n, \\n or \\\\n
# A prefix that a logger puts before a message. Removed repeatedly, because a line may have several:
# `(Engine pid=68) ERROR 02-06 16:34:06 [core.py:936] message`.
PREFIX = re.compile(
    r"""\s*(?:
    # journalctl: Oct 04 13:19:39 host unit[394]:
      [A-Z][a-z]{2}\s+\d{1,2}\s\d\d:\d\d:\d\d\s\S+\s[^\s:\[]+(?:\[\d+\])?:
    # 2023-10-12T14:55:40.727Z and 02-06 16:34:06
    | (?:\d{4}[-/])?\d\d[-/]\d\d[T\s_]\d\d:\d\d:\d\d(?:[.,:]\d+)?(?:Z|[+-]\d\d:?\d\d)?
    # 22:50:12-122539
    | \d\d:\d\d:\d\d(?:[.,-]\d+)?
    # docker compose: trainer-1  |
    | [\w.-]+\s*\|(?=\s|$)
    # buildkit: #12 0.512, and 0.512 alone when it repeats the output of the step that failed
    | \#\d+\s(?:\d+\.\d+)?
    | \d+\.\d+(?=\s+(?:error|warning|fix):)
    # [rank0]: (Worker pid=7) <stderr>:
    | [\[(<][^\[\]()<>\n]{1,60}[\])>]:?
    | (?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL)\b:?
    # quoting and box drawing
    | [>|│❱]+
    )""",
    re.VERBOSE,
)


def squash(text: str) -> str:
    """Return only the letters and digits of `text`, in lower case: the same however a message was wrapped."""
    return re.sub(r"[^a-z0-9]+", "", ESCAPES.sub(" ", text).casefold())


def unprefixed(text: str) -> str:
    """Return the text without the logger prefixes of each line."""
    lines = []
    for line in text.splitlines():
        while (found := PREFIX.match(line)) and found.end() > 0:
            line = line[found.end() :]
        lines.append(line)
    return "\n".join(lines)


def occurs(phrases: Sequence[str], text: str) -> bool:
    """Return whether the phrases occur in this order, each at most `GAP` after the one before; all are squashed."""
    first, *rest = phrases
    start = text.find(first)
    while start >= 0:
        end = start + len(first)
        for phrase in rest:
            at = text.find(phrase, end, end + GAP + len(phrase))
            if at < 0:
                break
            end = at + len(phrase)
        else:
            return True
        start = text.find(first, start + 1)
    return False


def explain(text: str) -> list[Known]:
    """Return the known errors in `text`, in the catalogue's order, without those that another of them covers."""
    plain = ANSI.sub("", text[-LONGEST:]).replace("\r", "\n")
    forms = (squash(unprefixed(plain)), squash(plain))
    found = [k for k in catalogue() if any(occurs(p, form) for p in k.patterns for form in forms)]
    covered = frozenset().union(*(k.covers for k in found))
    return [k for k in found if k.id not in covered]


_NEXT = r"\n\s*(?:error|warning): |\n\s*\n"  # the end of a message: the next one, or an empty line
OWN = re.compile(
    rf"^\s*(?:error|warning): (?P<what>(?:(?!{_NEXT}).)+?)\n\s*fix: (?P<fix>.+?)(?={_NEXT}|\Z)",
    re.MULTILINE | re.DOTALL,
)
# What buildkit prints around the output of a step: `#12 ERROR: process ...`, `#13 CANCELED`, and rules of dashes.
AROUND = re.compile(r"^(?:#\d+ [A-Z]{4,}\b.*|-{3,})$", re.MULTILINE)


def own(text: str) -> list[Known]:
    """Return the workspace's own messages in `text`, which contain their fix (`Problem` in app/errors.py)."""
    plain = AROUND.sub("", ANSI.sub("", text[-LONGEST:]).replace("\r\n", "\n"))
    found = {(" ".join(m["what"].split()), " ".join(m["fix"].split())): None for m in OWN.finditer(unprefixed(plain))}
    return [Known("workspace", (), what, "", (fix,), ("app/errors.py",)) for what, fix in found]


def show(known: Known) -> str:
    """Format an explanation for people: what the error means, why it happens here, what to type, the sources."""
    lines = [f"{known.id}: {known.means}"]
    if known.why:
        lines.append(f"  why   {known.why}")
    lines += [f"  {'type' if i == 0 else '    '}  {line}" for i, line in enumerate(known.type)]
    lines += [f"  {'from' if i == 0 else '    '}  {line}" for i, line in enumerate(known.source)]
    return "\n".join(lines)


def answer(text: str) -> str | None:
    """Return the explanation of `text`, or None if it is unknown.

    `text` is an entry's id, a pasted error, or one of the workspace's own messages.
    """
    found = [known for known in catalogue() if known.id == text.strip()] or explain(text) or own(text)
    return "\n\n".join(map(show, found)) if found else None


def text_of(words: Sequence[str]) -> str:
    """Return what the words of a command line mean: standard input (`-` or none), a file's text, or the words."""
    if list(words) in ([], ["-"]):
        return sys.stdin.read()
    text = " ".join(words)
    # A pasted error may be longer than any path, and is_file raises OSError for such a name.
    if "\n" not in text and len(text) < 1000 and Path(text).is_file():
        return Path(text).read_text(encoding="utf-8", errors="replace")
    return text


def advice(text: str) -> str | None:
    """Return what to print below a failure whose output is `text`, or None if it is unknown. Never raises."""
    found = explain(text)
    return "\n\n".join(map(show, found)) if found else None
