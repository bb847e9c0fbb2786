"""What a pasted error means here, and what to type: `app doctor explain`, `invoke up` and `app train` ask this.

The catalogue is data: `known_errors.json`, one entry an error. Its patterns are plain phrases of the message. Text and
phrases are both squashed to letters and digits before they are compared, so that line wraps (also inside a word),
indentation, box drawing, quotes and colours cannot hide a match; prefixes that loggers put before each line are cut
first. Standard library only: `invoke` uses it on the host's Python.
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
GAP = 300  # squashed characters that may stand between two phrases of one pattern: about four lines of a terminal
LONGEST = 2_000_000  # characters of a pasted log that are looked at: the end of it, where the error is


@dataclass(frozen=True)
class Known:
    """An entry of the catalogue.

    `patterns`: it matches when all phrases of any one of them occur in order, near each other. `covers`: entries that
    add nothing when this one matches.
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
    """The known errors, in the order of the file."""
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
# What may stand before the message on each line of a log. Tried again and again, since they come in rows:
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
    # buildkit: #12 0.512, and 0.512 alone where it repeats the step that failed
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
    """Lower-case letters and digits only: what is left of a message however it was wrapped."""
    return re.sub(r"[^a-z0-9]+", "", ESCAPES.sub(" ", text).casefold())


def unprefixed(text: str) -> str:
    """The text with each line's logger prefixes cut off."""
    lines = []
    for line in text.splitlines():
        while (found := PREFIX.match(line)) and found.end() > 0:
            line = line[found.end() :]
        lines.append(line)
    return "\n".join(lines)


def occurs(phrases: Sequence[str], text: str) -> bool:
    """Whether the phrases stand in the text in this order, each at most `GAP` after the one before; all squashed."""
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
    """The known errors in `text`, in the catalogue's order, without those that another of them covers."""
    plain = ANSI.sub("", text[-LONGEST:]).replace("\r", "\n")
    forms = (squash(unprefixed(plain)), squash(plain))
    found = [k for k in catalogue() if any(occurs(p, form) for p in k.patterns for form in forms)]
    covered = frozenset().union(*(k.covers for k in found))
    return [k for k in found if k.id not in covered]


_NEXT = r"\n\s*(?:error|warning): |\n\s*\n"  # where a message ends
OWN = re.compile(
    rf"^\s*(?:error|warning): (?P<what>(?:(?!{_NEXT}).)+?)\n\s*fix: (?P<fix>.+?)(?={_NEXT}|\Z)",
    re.MULTILINE | re.DOTALL,
)
# What a builder says around a step's own lines: `#12 ERROR: process ...`, `#13 CANCELED`, and rules of dashes.
AROUND = re.compile(r"^(?:#\d+ [A-Z]{4,}\b.*|-{3,})$", re.MULTILINE)


def own(text: str) -> list[Known]:
    """The workspace's own messages in `text`: they bring their fix along (`Problem` in app/errors.py)."""
    plain = AROUND.sub("", ANSI.sub("", text[-LONGEST:]).replace("\r\n", "\n"))
    found = {(" ".join(m["what"].split()), " ".join(m["fix"].split())): None for m in OWN.finditer(unprefixed(plain))}
    return [Known("workspace", (), what, "", (fix,), ("app/errors.py",)) for what, fix in found]


def show(known: Known) -> str:
    """An explanation for people: what it means, why it happens here, what to type, where that is from."""
    lines = [f"{known.id}: {known.means}"]
    if known.why:
        lines.append(f"  why   {known.why}")
    lines += [f"  {'type' if i == 0 else '    '}  {line}" for i, line in enumerate(known.type)]
    lines += [f"  {'from' if i == 0 else '    '}  {line}" for i, line in enumerate(known.source)]
    return "\n".join(lines)


def answer(text: str) -> str | None:
    """What to tell someone who asks about `text`: an entry's id, an error that was pasted, or a message of our own."""
    found = [known for known in catalogue() if known.id == text.strip()] or explain(text) or own(text)
    return "\n\n".join(map(show, found)) if found else None


def text_of(words: Sequence[str]) -> str:
    """What the words of a command line stand for: standard input (`-` or none), a file's text, or themselves."""
    if list(words) in ([], ["-"]):
        return sys.stdin.read()
    text = " ".join(words)
    # A pasted error is longer than any path, and the system refuses even to look for such a file.
    if "\n" not in text and len(text) < 1000 and Path(text).is_file():
        return Path(text).read_text(encoding="utf-8", errors="replace")
    return text


def advice(text: str) -> str | None:
    """What to print below a failure whose text is `text`, or None where nothing is known. Never raises."""
    found = explain(text)
    return "\n\n".join(map(show, found)) if found else None
