"""Texts and labels from .tsv, .csv, .jsonl and .json files, with every mistake in a file reported by its line.

    .tsv, .csv                    columns, see `app.data.tables`
    .jsonl, .ndjson, .jsonlines   {"text": ..., "label": ...}, one a line
    .json                         an array of such objects

Files are UTF-8, with or without a byte-order mark.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from app.data import hub
from app.data.formats import FORMATS, format_of
from app.data.lines import (
    InputLines,
    LineErrors,
    decode_lines,
    is_unicode,
    json_array,
    parse_object,
    read_lines,
    shortened,
)
from app.data.reading import local_path, reading
from app.data.tables import table_rows
from app.errors import DataError, Problem, did_you_mean
from app.paths import shipped_or_local

MISSING = frozenset(
    ("nan", "NaN", "<NA>", "NaT", "#N/A")
)  # what pandas, numpy and spreadsheets write if there is no value
WHOLE = re.compile(r"^([-+]?[0-9]+)\.0+$", re.ASCII)


@dataclass(frozen=True)
class Columns:
    """Names of the columns to read; `label` is None if there are no labels to read (predict)."""

    text: str = "text"
    label: str | None = "label"


@dataclass
class Texts:
    """Rows of a file: text, label, and the line that each starts on. A whole number is written without decimals, since
    1 and 1.0 are one label."""

    path: Path
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


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
    """Return the rows of a .tsv, .csv, .jsonl or .json file.

    Raises DataError naming each bad line: not UTF-8, of too many columns, without text, without a label or with one
    that `check_label` refuses.
    """
    path = find_file(name)
    errors = LineErrors(path)
    found = Texts(path)
    for line, text, label in _rows(path, columns, errors):
        label = WHOLE.sub(r"\1", label.strip())
        if not text.strip():
            errors.add(line, "the text is empty", "remove the row or write its text")
        elif columns.label is not None and not label:
            errors.add(line, "the label is empty", "remove the row or write its label")
        elif check_label and (wrong := check_label(label)):
            errors.add(line, *wrong)
        elif columns.label is not None and label in MISSING:
            errors.add(line, f"the label is missing: {label}", "remove the row or write its label")
        else:
            found.texts.append(text)
            found.labels.append(label)
            found.lines.append(line)
    errors.raise_if_any()
    if not found.texts:
        raise DataError(Problem("the file has no rows", "give it at least one line of text<TAB>label", str(path)))
    return found


def _rows(path: Path, columns: Columns, errors: LineErrors) -> Iterator[tuple[int, str, str]]:
    """Yield the rows of a file with columns as (line, text, label)."""
    form = format_of(path)
    if form is None:
        what = f"{path.suffix or 'a file without suffix'} is not a known format"
        raise DataError(Problem(what, f"use {', '.join(FORMATS)}", str(path)))
    if form in ("tsv", "csv"):
        yield from table_rows(path, form, columns.text, columns.label, errors)
        return
    for number, line in read_objects(path, errors):
        if not line.strip() or (row := parse_object(number, line, errors)) is None:
            continue
        text, label = row.get(columns.text), "" if columns.label is None else row.get(columns.label)
        keys = shortened(", ".join(row))
        if not isinstance(text, str):
            errors.add(number, f"no text under {columns.text!r}: the keys are {keys}", "name the key: data.text=...")
        elif not is_unicode(text):
            errors.add(number, "the text holds half of a surrogate pair", "write the character itself or both halves")
        elif columns.label in row and (label is None or (isinstance(label, float) and math.isnan(label))):
            errors.add(number, "the label is missing", "remove the row or write its label")
        elif not isinstance(label, (str, int, float)):
            errors.add(number, f"no label under {columns.label!r}: the keys are {keys}", "name the key: data.label=...")
        else:
            yield number, text, str(label)


def read_objects(path: Path, errors: LineErrors) -> Iterator[tuple[int, str]]:
    """Yield the JSON objects of a .jsonl or .json file, each as one line of JSON, with the lines they start on."""
    return json_array(path, errors) if format_of(path) == "json" else read_lines(path, errors)


def read_plain(name: str | None, text: str) -> tuple[list[str], InputLines]:
    """Return texts without labels and their lines, for `predict`.

    They are the lines of a .txt file or of stdin (None), or the column `text` of the other formats. Raises DataError.
    """
    path = Path("stdin") if name is None else find_file(name)
    errors = LineErrors(path)
    if name is None:
        lines = list(decode_lines(sys.stdin.buffer, errors))
    elif format_of(path) is None:
        lines = list(read_lines(path, errors))
    else:
        lines = [(line, words) for line, words, _ in _rows(path, Columns(text, None), errors)]
    errors.raise_if_any()
    given = [(line, words) for line, words in lines if words.strip()]
    if not given:
        raise DataError(Problem("there is no text", "give one text a line", name or "stdin"))
    empty = [line for line, words in lines if not words.strip()]
    return [words for _, words in given], InputLines([line for line, _ in given], empty)
