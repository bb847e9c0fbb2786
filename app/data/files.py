"""Texts and labels out of .tsv, .csv and .jsonl files, with every fault of a file named by its line.

    .tsv    text<TAB>label, no quoting          .csv    quoted as RFC 4180 says          .jsonl    {"text": ...,
    "label": ...}

A first line that holds the names of the columns is a header; without one the first column is the text and the second
the label. UTF-8, with or without a byte-order mark.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from app.data import hub
from app.data.readable import local, readable
from app.errors import DataError, Problem, did_you_mean
from app.paths import shipped_or_local

MOST_PROBLEMS = 20  # beyond this many a list of faults helps nobody
FORMATS = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; `label` is None where there is nothing to learn from (predict)."""

    text: str = "text"
    label: str | None = "label"


@dataclass
class Texts:
    """Rows of a file: text, label as written, and the line each started on."""

    path: Path
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


class Faults:
    """Collects the problems of one file and raises them together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.more = 0

    def add(self, line: int, what: str, fix: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(what, fix, f"{self.path}:{line}"))
        else:
            self.more += 1

    def raise_if_any(self) -> None:
        if self.more:
            self.problems.append(Problem(f"{self.more} more lines like these", "correct them too", str(self.path)))
        if self.problems:
            raise DataError(*self.problems)


def find_file(name: str) -> Path:
    """Path of a data file, fetched where it is the hub's. Raises DataError, with the nearest name in its folder."""
    if name.startswith(hub.SCHEME):
        return hub.hub_file(name)
    path = local(name, shipped_or_local)
    with readable(path):
        if path.is_file():
            return path
        if path.is_dir():
            raise DataError(Problem(f"{name} is a folder", "name the file in it", name))
        raise DataError(Problem(f"no such file: {name}", _instead_of(path, name)))


def _instead_of(path: Path, name: str) -> str:
    """What to do about a file that is not there."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    guess = did_you_mean(path.name, sorted(p.name for p in path.parent.iterdir() if p.is_file()))
    if guess:
        return f"did you mean {name[: len(name) - len(path.name)]}{guess}?"
    return f"put the file into {path.parent}, or name another"


WrongLabel = Callable[[str], Optional["tuple[str, str]"]]
"""What is wrong with a label and how to mend it, or None."""


def read_texts(name: str, columns: Columns, wrong_label: WrongLabel | None = None) -> Texts:
    """Rows of a file.

    Raises DataError naming each bad line: not UTF-8, of too many columns, without text, without a label or with a
    wrong one.
    """
    path = find_file(name)
    if path.suffix not in FORMATS:
        raise DataError(
            Problem(
                f"{path.suffix or 'a file without suffix'} is not a known format", f"use {', '.join(FORMATS)}", name
            )
        )
    faults = Faults(path)
    rows = _jsonl(path, columns, faults) if path.suffix == ".jsonl" else _table(path, columns, faults)
    found = Texts(path)
    for line, text, label in rows:
        if not text.strip():
            faults.add(line, "the text is empty", "remove the row or write its text")
        elif columns.label is not None and not label.strip():
            faults.add(line, "the label is empty", "remove the row or write its label")
        elif wrong_label and (wrong := wrong_label(label.strip())):
            faults.add(line, *wrong)
        else:
            found.texts.append(text)
            found.labels.append(label.strip())
            found.lines.append(line)
    faults.raise_if_any()
    if not found.texts:
        raise DataError(Problem("the file has no rows", "give it at least one line of text<TAB>label", str(path)))
    return found


def decoded_lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file with their numbers; a line that is not UTF-8 becomes a fault.

    Raises DataError where the file itself cannot be read.
    """
    with readable(path), path.open("rb") as file:
        yield from decoded(file, faults)


def decoded(lines: Iterable[bytes], faults: Faults) -> Iterator[tuple[int, str]]:
    """The same for lines from anywhere."""
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            faults.add(number, f"byte {error.start + 1} of the line is not UTF-8", "save the file as UTF-8")
            continue
        yield number, line.rstrip("\r\n")


def _table(path: Path, columns: Columns, faults: Faults) -> Iterator[tuple[int, str, str]]:
    """Rows of a .tsv or .csv file as (line, text, label)."""
    wanted = [columns.text] if columns.label is None else [columns.text, columns.label]
    places: list[int] | None = None
    width = 0
    for line, cells in _tsv_rows(path, faults) if path.suffix == ".tsv" else _csv_rows(path, faults):
        if not any(cell.strip() for cell in cells):
            continue
        if places is None:
            names = [cell.strip().lower() for cell in cells]
            present = [name.lower() in names for name in wanted]
            if all(present):
                places, width = [names.index(name.lower()) for name in wanted], len(names)
                continue
            if any(present) and len(wanted) > 1:
                missing, key = (columns.text, "text") if not present[0] else (columns.label, "label")
                others = [cell for cell, name in zip(cells, names) if name not in (w.lower() for w in wanted)]
                fix = f"say data.{key}={others[0]}" if others else f"add the column {missing}"
                faults.add(line, f"the header has no column {missing!r}: it has {', '.join(cells)}", fix)
                return
            places, width = list(range(len(wanted))), max(len(wanted), len(cells) if columns.label is None else 0)
        if len(cells) != width:
            what = f"{len(cells)} column{'s' * (len(cells) != 1)} where {width} are expected"
            fix = (
                "one text and one label a line, with one tab between"
                if path.suffix == ".tsv"
                else "quote a text that holds a comma"
            )
            faults.add(line, what, fix)
            continue
        yield line, cells[places[0]], cells[places[1]] if len(places) > 1 else ""


def _tsv_rows(path: Path, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    for number, line in decoded_lines(path, faults):
        yield number, line.split("\t")


def _csv_rows(path: Path, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 refuses long documents
    numbers: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in decoded_lines(path, faults):
            numbers.append(number)
            yield line + "\n"

    reader = csv.reader(lines(), strict=True)
    while True:
        read_before = len(numbers)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            start = numbers[min(read_before, len(numbers) - 1)] if numbers else 1
            faults.add(start, f"not valid CSV: {error}", "close each quote, and double a quote inside a text")
            return  # after a lost quote every later line would be a false alarm
        yield numbers[min(read_before, len(numbers) - 1)], row


def _jsonl(path: Path, columns: Columns, faults: Faults) -> Iterator[tuple[int, str, str]]:
    """Rows of a .jsonl file as (line, text, label)."""
    for number, line in decoded_lines(path, faults):
        if not line.strip():
            continue
        row = json_object(number, line, faults)
        if row is None:
            continue
        text, label = row.get(columns.text), "" if columns.label is None else row.get(columns.label)
        if not isinstance(text, str):
            faults.add(
                number, f"no text under {columns.text!r}: the keys are {', '.join(row)}", "name the key: data.text=..."
            )
        elif not is_unicode(text):
            faults.add(number, "the text holds half of a surrogate pair", "write the character itself or both halves")
        elif not isinstance(label, (str, int, float)):
            faults.add(
                number,
                f"no label under {columns.label!r}: the keys are {', '.join(row)}",
                "name the key: data.label=...",
            )
        else:
            yield number, text, str(label)


def json_object(number: int, line: str, faults: Faults) -> dict[str, Any] | None:
    """The JSON object on a line; anything else becomes a fault."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        faults.add(number, f"not valid JSON: {error}", "write one JSON object a line")
        return None
    if not isinstance(row, dict):
        faults.add(number, "not a JSON object", 'write {"text": "...", "label": "..."}')
        return None
    return row


def is_unicode(text: str) -> bool:
    """Whether a text out of JSON can be written as UTF-8: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_plain(name: str | None, text: str) -> list[str]:
    """Texts to run a model over: a .txt file or stdin (None) with one a line, or the text column of the other formats.

    Raises DataError.
    """
    if name is not None and Path(name).suffix in FORMATS:
        return read_texts(name, Columns(text, None)).texts
    faults = Faults(Path("stdin") if name is None else find_file(name))
    lines = decoded(sys.stdin.buffer, faults) if name is None else decoded_lines(faults.path, faults)
    texts = [line for _, line in lines if line.strip()]
    faults.raise_if_any()
    if not texts:
        raise DataError(Problem("there is no text", "give one text a line", name or "stdin"))
    return texts
