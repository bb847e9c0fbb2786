"""Lines of UTF-8 files with their numbers, JSON objects on them, and the mistakes found, to be reported together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.data.reading import reading
from app.errors import DataError, Problem

MAX_PROBLEMS = 20  # of one file; a longer list helps nobody
SHOWN = 100  # characters of a file that an error message repeats


@dataclass(frozen=True)
class InputLines:
    """Which line of an input each example came from, so that answers can be told apart."""

    full: list[int]
    """The line that each example starts on."""
    empty: list[int]
    """Lines without an example."""


class LineErrors:
    """Collects the problems of one file, to raise them together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.more = 0

    def add(self, line: int, what: str, fix: str) -> None:
        """Note what is wrong with a line; beyond MAX_PROBLEMS, only count it."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(what, fix, f"{self.path}:{line}"))
        else:
            self.more += 1

    def raise_if_any(self) -> None:
        """Raise DataError if any problem was added."""
        if self.more:
            self.problems.append(Problem(f"{self.more} more lines like these", "correct them too", str(self.path)))
        if self.problems:
            raise DataError(*self.problems)


def shortened(words: str) -> str:
    """Return text from a file, cut to a length that an error message can hold."""
    return words if len(words) <= SHOWN else f"{words[:SHOWN]} ..."


def read_lines(path: Path, errors: LineErrors) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file with their numbers, without line ends; add an error for a line that is not UTF-8.

    Raises DataError if the file itself cannot be read.
    """
    with reading(path), path.open("rb") as file:
        yield from decode_lines(file, errors)


def decode_lines(lines: Iterable[bytes], errors: LineErrors) -> Iterator[tuple[int, str]]:
    """Do what `read_lines` does, for lines that are already here."""
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            errors.add(number, f"byte {error.start + 1} of the line is not UTF-8", "save the file as UTF-8")
            continue
        yield number, line.rstrip("\r\n")


def json_array(path: Path, errors: LineErrors) -> Iterator[tuple[int, str]]:
    """Yield the values of a JSON array with the lines that they start on, each as JSON on a line.

    If the file holds one object a line instead, yield its lines. Raises DataError if it holds something else.
    """
    lines = list(read_lines(path, errors))
    text = "\n".join(line for _, line in lines)
    if not text.lstrip().startswith("["):
        _refuse_single_object(path, text)
        yield from lines
        return
    decoder, end, number, counted = json.JSONDecoder(), text.index("[") + 1, 1, 0
    while True:
        while end < len(text) and text[end] in " \t\r\n,":
            end += 1
        number, counted = number + text.count("\n", counted, end), end
        if text[end : end + 1] == "]" and not text[end + 1 :].strip():
            return
        try:
            value, end = decoder.raw_decode(text, end)
        except (ValueError, RecursionError) as error:
            errors.add(
                number, f"not valid JSON: {error}", "write a JSON array of objects, or one object a line (.jsonl)"
            )
            return
        yield number, json.dumps(value)


def _refuse_single_object(path: Path, text: str) -> None:
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(whole, dict) and any(isinstance(value, (list, dict)) for value in whole.values()):
        what = "the file holds one JSON object and not a list of rows"
        raise DataError(Problem(what, 'write an array: [{"text": "...", "label": "..."}, ...]', str(path)))


def parse_object(number: int, line: str, errors: LineErrors) -> dict[str, Any] | None:
    """Return the JSON object on a line; for anything else, add an error and return None."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        errors.add(number, f"not valid JSON: {error}", "write one JSON object a line")
        return None
    if not isinstance(row, dict):
        errors.add(number, "not a JSON object", 'write {"text": "...", "label": "..."}')
        return None
    return row


def is_unicode(text: str) -> bool:
    """Return whether a text from JSON can be written as UTF-8; a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
