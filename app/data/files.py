"""Texts and labels from .tsv, .csv and .jsonl files, with every mistake in a file reported by its line.

    .tsv      text<TAB>label, no quoting
    .csv      text,label, quoted as in RFC 4180
    .jsonl    {"text": ..., "label": ...}

If the first line holds the names of the columns, it is a header. Without a header, the first column is the text and
the second the label. Files are UTF-8, with or without a byte-order mark.
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
from app.data.reading import local_path, reading
from app.errors import DataError, Problem, did_you_mean
from app.paths import shipped_or_local

MAX_PROBLEMS = 20  # of one file; a longer list helps nobody
FORMATS = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; `label` is None if there are no labels to read (predict)."""

    text: str = "text"
    label: str | None = "label"


@dataclass
class Texts:
    """Rows of a file: text, label as written, and the line that each starts on."""

    path: Path
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


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


def find_file(name: str) -> Path:
    """Return the path of a data file; a file of the hub is downloaded first.

    Raises DataError, with the nearest name in the folder, if there is no such file.
    """
    if name.startswith(hub.SCHEME):
        return hub.hub_file(name)
    path = local_path(name, shipped_or_local)
    with reading(path):
        if path.is_file():
            return path
        if path.is_dir():
            raise DataError(Problem(f"{name} is a folder", "name the file in it", name))
        raise DataError(Problem(f"no such file: {name}", _missing_file_fix(path, name)))


def _missing_file_fix(path: Path, name: str) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    guess = did_you_mean(path.name, sorted(p.name for p in path.parent.iterdir() if p.is_file()))
    if guess:
        return f"did you mean {name[: len(name) - len(path.name)]}{guess}?"
    return f"put the file into {path.parent}, or name another"


LabelCheck = Callable[[str], Optional["tuple[str, str]"]]
"""Returns what is wrong with a label and how to fix it, or None."""


def read_texts(name: str, columns: Columns, check_label: LabelCheck | None = None) -> Texts:
    """Return the rows of a .tsv, .csv or .jsonl file.

    Raises DataError naming each bad line: not UTF-8, of too many columns, without text, without a label or with one
    that `check_label` refuses.
    """
    path = find_file(name)
    if path.suffix not in FORMATS:
        what = f"{path.suffix or 'a file without suffix'} is not a known format"
        raise DataError(Problem(what, f"use {', '.join(FORMATS)}", name))
    errors = LineErrors(path)
    rows = _jsonl_rows(path, columns, errors) if path.suffix == ".jsonl" else _table_rows(path, columns, errors)
    found = Texts(path)
    for line, text, label in rows:
        if not text.strip():
            errors.add(line, "the text is empty", "remove the row or write its text")
        elif columns.label is not None and not label.strip():
            errors.add(line, "the label is empty", "remove the row or write its label")
        elif check_label and (wrong := check_label(label.strip())):
            errors.add(line, *wrong)
        else:
            found.texts.append(text)
            found.labels.append(label.strip())
            found.lines.append(line)
    errors.raise_if_any()
    if not found.texts:
        raise DataError(Problem("the file has no rows", "give it at least one line of text<TAB>label", str(path)))
    return found


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


def _table_rows(path: Path, columns: Columns, errors: LineErrors) -> Iterator[tuple[int, str, str]]:
    """Yield the rows of a .tsv or .csv file as (line, text, label)."""
    wanted = [columns.text] if columns.label is None else [columns.text, columns.label]
    positions: list[int] | None = None
    width = 0
    for line, cells in _tsv_rows(path, errors) if path.suffix == ".tsv" else _csv_rows(path, errors):
        if not any(cell.strip() for cell in cells):
            continue
        if positions is None:
            names = [cell.strip().lower() for cell in cells]
            present = [name.lower() in names for name in wanted]
            if all(present):
                positions, width = [names.index(name.lower()) for name in wanted], len(names)
                continue
            if any(present) and len(wanted) > 1:
                missing, key = (columns.text, "text") if not present[0] else (columns.label, "label")
                others = [cell for cell, name in zip(cells, names) if name not in (w.lower() for w in wanted)]
                fix = f"say data.{key}={others[0]}" if others else f"add the column {missing}"
                errors.add(line, f"the header has no column {missing!r}: it has {', '.join(cells)}", fix)
                return
            positions, width = list(range(len(wanted))), max(len(wanted), len(cells) if columns.label is None else 0)
        if len(cells) != width:
            what = f"{len(cells)} column{'s' * (len(cells) != 1)} instead of {width}"
            fix = (
                "write one text and one label a line, with one tab between them"
                if path.suffix == ".tsv"
                else "quote a text that holds a comma"
            )
            errors.add(line, what, fix)
            continue
        yield line, cells[positions[0]], cells[positions[1]] if len(positions) > 1 else ""


def _tsv_rows(path: Path, errors: LineErrors) -> Iterator[tuple[int, list[str]]]:
    for number, line in read_lines(path, errors):
        yield number, line.split("\t")


def _csv_rows(path: Path, errors: LineErrors) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 refuses long documents
    numbers: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in read_lines(path, errors):
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
            errors.add(start, f"not valid CSV: {error}", "close each quote, and double a quote inside a text")
            return  # after a lost quote, every later line would be a false alarm
        yield numbers[min(read_before, len(numbers) - 1)], row


def _jsonl_rows(path: Path, columns: Columns, errors: LineErrors) -> Iterator[tuple[int, str, str]]:
    """Yield the rows of a .jsonl file as (line, text, label)."""
    for number, line in read_lines(path, errors):
        row = parse_object(number, line, errors) if line.strip() else None
        if row is None:
            continue
        text, label = row.get(columns.text), "" if columns.label is None else row.get(columns.label)
        if not isinstance(text, str):
            what = f"no text under {columns.text!r}: the keys are {', '.join(row)}"
            errors.add(number, what, "name the key: data.text=...")
        elif not is_unicode(text):
            errors.add(number, "the text holds half of a surrogate pair", "write the character itself or both halves")
        elif not isinstance(label, (str, int, float)):
            what = f"no label under {columns.label!r}: the keys are {', '.join(row)}"
            errors.add(number, what, "name the key: data.label=...")
        else:
            yield number, text, str(label)


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


def read_plain(name: str | None, text: str) -> list[str]:
    """Return texts without labels, for `predict`.

    They are the lines of a .txt file or of stdin (None), or the column `text` of the other formats. Raises DataError.
    """
    if name is not None and Path(name).suffix in FORMATS:
        return read_texts(name, Columns(text, None)).texts
    errors = LineErrors(Path("stdin") if name is None else find_file(name))
    lines = decode_lines(sys.stdin.buffer, errors) if name is None else read_lines(errors.path, errors)
    texts = [line for _, line in lines if line.strip()]
    errors.raise_if_any()
    if not texts:
        raise DataError(Problem("there is no text", "give one text a line", name or "stdin"))
    return texts
