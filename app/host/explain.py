"""Explain an error message and its fix, for `app doctor explain`, `invoke up` and `app train`.

The catalogue is data: `known_errors/`, a file for each group. Its patterns are plain phrases of the message. Text and
phrases are both reduced to letters and digits before they are compared, so line wraps (even inside a word),
indentation, box drawing, quotes and colours do not matter; the prefixes that loggers put before each line are removed
first. The text may be anything, so every step takes time in proportion to its length. Standard library only: `invoke`
runs it with the host's Python.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

CATALOGUE = Path(__file__).with_name("known_errors")
GAP = 300  # most squashed characters between two phrases of one pattern: about four lines of a terminal
LONGEST = 2_000_000  # characters of a log that are searched, from its end, because the error is there


@dataclass(frozen=True)
class KnownError:
    """An entry of the catalogue.

    It matches if all phrases of any one of `patterns` occur in order, near each other. `type` are commands. `covers`
    are entries that are left out if this one matches.
    """

    id: str
    patterns: tuple[tuple[str, ...], ...]
    means: str
    why: str
    type: tuple[str, ...]
    source: tuple[str, ...]
    covers: frozenset[str] = frozenset()


@lru_cache(maxsize=1)
def catalogue() -> tuple[KnownError, ...]:
    """Return the known errors: the groups by name, and each in the order of its file."""
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CATALOGUE.glob("*.json"))]
    return tuple(
        KnownError(
            id=entry["id"],
            patterns=tuple(tuple(squash(phrase) for phrase in pattern) for pattern in entry["match"]),
            means=entry["means"],
            why=entry["why"],
            type=tuple(entry["type"]),
            source=tuple(entry["source"]),
            covers=frozenset(entry.get("covers", ())),
        )
        for document in documents
        for entry in document["errors"]
    )


ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
ESCAPES = re.compile(r"(?<!\\)\\+[nrt]")  # Docker quotes messages: a newline becomes \n, \\n or \\\\n
TEXT = re.compile(r"\S")
PREFIXES = 20  # at most in a line: two loggers, a container and a quoted reply have less
# One prefix of a line of a log. It is matched repeatedly, because a line can have several:
# `(Engine pid=68) ERROR 02-06 16:34:06 [core.py:936] message`.
PREFIX = re.compile(
    r"""(?:
    # journalctl: Oct 04 13:19:39 host unit[394]:
      [A-Z][a-z]{2}\s+\d{1,2}\s\d\d:\d\d:\d\d\s\S+\s[^\s:\[]+(?:\[\d+\])?:
    # 2023-10-12T14:55:40.727Z and 02-06 16:34:06
    | (?:\d{4}[-/])?\d\d[-/]\d\d[T\s_]\d\d:\d\d:\d\d(?:[.,:]\d+)?(?:Z|[+-]\d\d:?\d\d)?
    # 22:50:12-122539
    | \d\d:\d\d:\d\d(?:[.,-]\d+)?
    # docker compose: trainer-1  |
    | [\w.-]+\s*\|(?=\s|$)
    # buildkit: #12 0.512, and 0.512 alone when it repeats the step that failed
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
    """Return the lower-case letters and digits of `text`: they stay the same however it is wrapped."""
    return re.sub(r"[^a-z0-9]+", "", ESCAPES.sub(" ", text).casefold())


def strip_prefixes(text: str) -> str:
    """Return the text without the prefixes that loggers put before each line."""
    lines = []
    for line in text.splitlines():
        end = 0
        for _ in range(PREFIXES if line else 0):
            start = TEXT.search(line, end)
            found = PREFIX.match(line, start.start()) if start else None
            if not found:
                break
            end = found.end()
        lines.append(line[end:])
    return "\n".join(lines)


def occurs(phrases: Sequence[str], text: str) -> bool:
    """Return whether the phrases occur in this order, each at most `GAP` after the last. All arguments are squashed."""
    first, *rest = phrases
    start = text.find(first)
    while start >= 0:
        end, reach = start + len(first), len(first) + GAP
        for phrase in rest:
            at = text.find(phrase, end)
            if at < 0:
                return False
            if at > end + GAP:
                break
            end, reach = at + len(phrase), reach + len(phrase) + GAP
        else:
            return True
        start = text.find(first, max(start + 1, at - reach))  # an earlier one is too far from this phrase
    return False


PIECE = 7  # characters: any phrase of 13 or more that occurs contains one of the pieces that a text is cut into


def pieces(text: str) -> frozenset[str]:
    """Return the text cut into pieces, to see fast which of hundreds of phrases cannot occur in it."""
    return frozenset(text[i : i + PIECE] for i in range(0, len(text), PIECE))


def may_occur(phrases: Sequence[str], of_text: frozenset[str]) -> bool:
    """Return False if the longest phrase does not occur in the text that was cut into `of_text`."""
    longest = max(phrases, key=len)
    return any(longest[i : i + PIECE] in of_text for i in range(PIECE))


def explain(text: str) -> list[KnownError]:
    """Return the known errors in `text`, in the catalogue's order, without those that another one covers."""
    plain = ANSI.sub("", text[-LONGEST:]).replace("\r", "\n")
    forms = [(form, pieces(form)) for form in {squash(strip_prefixes(plain)), squash(plain)}]
    found = [
        k for k in catalogue() if any(may_occur(p, cut) and occurs(p, form) for p in k.patterns for form, cut in forms)
    ]
    covered = frozenset().union(*(k.covers for k in found))
    return [k for k in found if k.id not in covered]


_NEXT = r"\n[^\S\n]*(?:error|warning): |\n[^\S\n]*\n"  # where a message ends
WORKSPACE_MESSAGE = re.compile(
    rf"^[^\S\n]*(?:error|warning): (?P<what>(?:(?!{_NEXT}).)+?)\n[^\S\n]*fix: (?P<fix>.+?)(?={_NEXT}|\Z)",
    re.MULTILINE | re.DOTALL,
)
# Lines that buildkit adds to those of a step: `#12 ERROR: process ...`, `#13 CANCELED`, and rules of dashes.
BUILDER_LINE = re.compile(r"^(?:#\d+ [A-Z]{4,}\b.*|-{3,})$", re.MULTILINE)


def workspace_errors(text: str) -> list[KnownError]:
    """Return the workspace's own messages in `text`, which contain their fix (`Problem` in app/errors.py)."""
    plain = BUILDER_LINE.sub("", ANSI.sub("", text[-LONGEST:]).replace("\r\n", "\n"))
    matches = WORKSPACE_MESSAGE.finditer(strip_prefixes(plain))
    found = {(" ".join(m["what"].split()), " ".join(m["fix"].split())): None for m in matches}  # each message once
    return [KnownError("workspace", (), what, "", (fix,), ("app/errors.py",)) for what, fix in found]


def show(known: KnownError) -> str:
    """Return an entry as text: what it means, why it happens here, what to type, and the sources."""
    lines = [f"{known.id}: {known.means}"]
    if known.why:
        lines.append(f"  why   {known.why}")
    lines += [f"  {'type' if i == 0 else '    '}  {line}" for i, line in enumerate(known.type)]
    lines += [f"  {'from' if i == 0 else '    '}  {line}" for i, line in enumerate(known.source)]
    return "\n".join(lines)


def answer(text: str) -> str | None:
    """Return the explanation of `text`: an entry's id, a known error, or one of our own messages; None if unknown."""
    found = [known for known in catalogue() if known.id == text.strip()] or explain(text) or workspace_errors(text)
    return "\n\n".join(map(show, found)) if found else None


def text_of(words: Sequence[str]) -> str:
    """Return the text that command-line words stand for: standard input (`-` or none), a file's text, or the words."""
    if list(words) in ([], ["-"]):
        return sys.stdin.read()
    text = " ".join(words)
    # A pasted error can be longer than a path may be, for which `is_file` raises.
    if "\n" not in text and len(text) < 1000 and Path(text).is_file():
        return Path(text).read_text(encoding="utf-8", errors="replace")
    return text


def advice(text: str) -> str | None:
    """Return what to print below a failure with this text; None if no known error matches. Never raises."""
    found = explain(text)
    return "\n\n".join(map(show, found)) if found else None
