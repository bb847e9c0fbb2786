"""Rows of .tsv and .csv files as texts and labels, with or without a header.

    .tsv      text<TAB>label; quoted if the file was written so (pandas, Excel), else a quote is an ordinary character
    .csv      text,label, quoted as in RFC 4180

If the first line holds the names of the columns, it is a header. Without a header, the first column is the text and
the second the label. A first line that is neither is an error, not a row.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.data.lines import LineErrors, read_lines, shortened

Cells = tuple[int, list[str]]
"""The line that a row starts on, and its cells."""

QUOTED = re.compile(r'"(?:[^"]|"")*"')
NUMBER = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", re.IGNORECASE)
NAME = re.compile(r"[^\W\d][\w-]*( [\w-]+){0,2}")  # of a column: a word or a few, without punctuation
# Words that tables are headed with. A row of nothing else is a header, however short the file is.
HEADINGS = (
    "annotation body category class classes comment content document emotion gold headline id idx index input intent "
    "label labels language message name number opinion polarity post question rating review score sentence sentiment "
    "source star stars summary tag target text title topic tweet url utterance"
)


def table_rows(
    path: Path, form: str, text: str, label: str | None, errors: LineErrors
) -> Iterator[tuple[int, str, str]]:
    """Yield the rows of a .tsv or .csv file as (line, text, label); `label` None: there is none to read.

    Adds an error for each row of another width than the first, and for a header that has other names.
    """
    rows = [row for row in (_tsv_rows if form == "tsv" else _csv_rows)(path, errors) if any(map(str.strip, row[1]))]
    if not rows:
        return
    wanted = [text] if label is None else [text, label]
    line, first = rows[0]
    names = [cell.strip().lower() for cell in first]
    if all(name.lower() in names for name in wanted):
        positions, width = [names.index(name.lower()) for name in wanted], len(names)
        rows = rows[1:]
    elif wrong := _wrong_separator(first, form, len(wanted)) or _wrong_header(rows, wanted):
        errors.add(line, *wrong)
        return
    else:
        positions, width = list(range(len(wanted))), len(first) if label is None else len(wanted)
    for line, cells in rows:
        if len(cells) == width:
            yield line, cells[positions[0]], cells[positions[1]] if label is not None else ""
            continue
        what = f"{len(cells)} column{'s' * (len(cells) != 1)} instead of {width}"
        fix = (
            "write one text and one label a line, with one tab between them"
            if form == "tsv"
            else "quote a text that holds a comma"
        )
        errors.add(line, what, fix)


def _wrong_separator(first: Sequence[str], form: str, wanted: int) -> tuple[str, str] | None:
    """Return what is wrong with a file that separates its columns by something else than its suffix says."""
    right = "tabs" if form == "tsv" else "commas"
    if len(first) == 1 and first[0].lower().startswith("sep="):
        return f"the first line, {first[0]}, is Excel's and no row", f"remove it, and separate the columns by {right}"
    others = {";": "semicolons", "|": "bars", **({"\t": "tabs"} if form == "csv" else {",": "commas"})}
    found = next((name for mark, name in others.items() if mark in first[0]), None) if wanted > 1 else None
    if len(first) == 1 and found:
        return (
            f"the row has one column, and {found} in it",
            f"separate the columns by {right}, or name the file otherwise",
        )
    return None


def _wrong_header(rows: Sequence[Cells], wanted: Sequence[str]) -> tuple[str, str] | None:
    """Return what is wrong with a first row that holds the names of columns, but not the wanted ones."""
    first = [cell.strip() for cell in rows[0][1]]
    names = [cell.lower() for cell in first]
    missing = [name for name in wanted if name.lower() not in names]
    partly = len(missing) < len(wanted)
    if not partly and not _is_header(rows, labelled=len(wanted) > 1):
        return None
    listed = shortened(", ".join(first))
    which = " and ".join(map(repr, missing))
    what = f"the header has no column {which}: it has {listed}"
    others = [cell for cell in first if cell.lower() not in (name.lower() for name in wanted)]
    if len(others) < len(missing):
        return what, f"add the column {missing[0]}"
    guesses = zip(missing, (_likely_text(rows, others), others[-1]) if len(missing) > 1 else others)
    keys = {wanted[0]: "text", **({wanted[1]: "label"} if len(wanted) > 1 else {})}
    fix = "say " + " ".join(f"data.{keys[name]}={guess}" for name, guess in guesses)
    return what, fix if len(wanted) > 1 else f"name the column of the texts {wanted[0]!r} (a recipe can {fix})"


def _likely_text(rows: Sequence[Cells], names: Sequence[str]) -> str:
    """Return the name of the column with the longest cells."""
    first = [cell.strip() for cell in rows[0][1]]
    lengths = {name: sum(len(c[first.index(name)]) for _, c in rows[1:] if len(c) == len(first)) for name in names[:-1]}
    return max(lengths, key=lambda name: lengths[name]) if lengths else names[0]


def _is_header(rows: Sequence[Cells], labelled: bool) -> bool:
    """Return whether the first row cannot be data: it holds names, and the rows below it hold something else."""
    first, others = [cell.strip() for cell in rows[0][1]], [cells for _, cells in rows[1:]]
    if not all(NAME.fullmatch(cell) for cell in first):
        return False
    if all(_words(cell) <= set(HEADINGS.split(" ")) for cell in first):
        return True
    alike = [cells for cells in others if len(cells) == len(first)]
    if any(alike and all(NUMBER.fullmatch(cells[i].strip()) for cells in alike) for i in range(len(first))):
        return True  # a name above a column of numbers
    if not labelled or len(first) != 2 or len(alike) < 4:
        return False
    counts = Counter(cells[1].strip() for cells in alike)
    return first[1] not in counts and min(counts.values()) > 1


def _words(name: str) -> set[str]:
    """Return the words of a column's name: text_label, text-label and textLabel have two."""
    return {word.lower() for word in re.split(r"[ _-]|(?<=[a-z])(?=[A-Z])", name) if word}


def _tsv_rows(path: Path, errors: LineErrors) -> Iterator[Cells]:
    lines = list(read_lines(path, errors))
    rows = [(number, line.split("\t")) for number, line in lines]
    return iter(_unquoted(lines, rows, errors) or rows)


def _unquoted(lines: Sequence[tuple[int, str]], rows: Sequence[Cells], errors: LineErrors) -> list[Cells] | None:
    """Return the rows of a tab-separated file that was written with quotes, as pandas and Excel do; None if it was not.

    They quote a cell that holds a quote (doubled inside), a tab or a line end; Excel also one that holds a comma. If
    any cell with a quote in it breaks these rules, quotes are characters like any other. Adds an error if the file can
    be read in both ways.
    """
    if not any(cell.startswith('"') for _, cells in rows for cell in cells):
        return None
    whole = [(number, cells) for number, cells in rows if any(map(str.strip, cells))]
    if len({len(cells) for _, cells in whole}) > 1:
        parsed = _parsed(lines)
        return parsed if parsed and len({len(cells) for _, cells in parsed}) == 1 else None
    cells = [cell for _, row in whole for cell in row]
    quoted = [cell for cell in cells if '"' in cell]
    if not all(QUOTED.fullmatch(cell) for cell in quoted):
        parsed = _parsed(lines)
        if parsed and {len(cells) for _, cells in parsed} == {len(whole[0][1])} and len(parsed) < len(whole):
            broken = (n for n, row in whole if any(c.startswith('"') and not QUOTED.fullmatch(c) for c in row))
            what = "a quote opens here and closes on a later line, so the file can be read in two ways"
            errors.add(next(broken), what, "write it as .csv or .jsonl")
        return None
    doubled = any('""' in cell[1:-1] for cell in quoted)
    everything = all('"' in cell or NUMBER.fullmatch(cell.strip()) for cell in cells)
    bare = any("," in cell for cell in cells if '"' not in cell)
    commas = not bare and all("," in cell or '""' in cell[1:-1] for cell in quoted)
    return _parsed(lines) if doubled or everything or commas else None


def _parsed(lines: Sequence[tuple[int, str]]) -> list[Cells] | None:
    """Return the rows of quoted lines with tabs; None if the quotes do not match."""
    errors = LineErrors(Path())
    rows = list(_csv_reader(iter(lines), errors, "\t"))
    return None if errors.problems else [row for row in rows if any(map(str.strip, row[1]))]


def _csv_rows(path: Path, errors: LineErrors) -> Iterator[Cells]:
    return _csv_reader(read_lines(path, errors), errors, ",")


def _csv_reader(source: Iterator[tuple[int, str]], errors: LineErrors, separator: str) -> Iterator[Cells]:
    csv.field_size_limit(2**31 - 1)  # the default of 131,072 refuses long documents
    numbers: list[int] = []

    def lines() -> Iterator[str]:
        for number, line in source:
            numbers.append(number)
            yield line + "\n"

    reader = csv.reader(lines(), delimiter=separator, strict=True)
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
