"""CoNLL columns: one token a line, its tag in the last column, an empty line between sentences.

    Ada         B-PER
    Lovelace    I-PER
    wrote       O

Columns are separated by tabs or by spaces; the first is the token and the last the tag, so CoNLL-2003 with its four
columns can be read unchanged. `-DOCSTART-` lines and comments are skipped. All lines of a file must have the same
number of columns: otherwise a token with a space in it would silently be read as something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from app.data.lines import LineErrors, read_lines
from app.data.tags.schemes import OUTSIDE, Sentence

DOCUMENT_START = "-DOCSTART-"
BYTE_ORDER_MARK = "\ufeff"  # before the text; alone on a line in joined files (the last line of WNUT-17's dev set)
GAP = re.compile(r"[ \t]+")
TAG = re.compile(r"O|[BIESLU]-.+")


def read_columns(path: Path, errors: LineErrors) -> list[Sentence]:
    """Return the sentences of a CoNLL file with their tags as written; add an error for each unreadable line."""
    lines = [(number, line.strip(BYTE_ORDER_MARK)) for number, line in read_lines(path, errors)]
    tabs = _uses_tabs([line for _, line in lines])
    rows = [(number, line, _cells(line, tabs)) for number, line in lines]
    width = _usual_width([cells for _, _, cells in rows])
    sentences, current = [], Sentence([], [], [])
    for number, line, cells in rows:
        if not cells or cells[0] == DOCUMENT_START:
            if current.tokens:
                sentences.append(current)
                current = Sentence([], [], [])
        elif not _is_comment(line, cells, width) and _is_valid(number, cells, width, tabs, errors):
            current.tokens.append(cells[0])
            current.tags.append(cells[-1])
            current.lines.append(number)
    return [*sentences, current] if current.tokens else sentences


def _uses_tabs(lines: Sequence[str]) -> bool:
    """Return whether tabs separate the columns in most of the lines that have columns."""
    with_tab = sum("\t" in line.strip() for line in lines)
    return with_tab * 2 > sum(bool(GAP.search(line.strip())) for line in lines)


def _cells(line: str, tabs: bool) -> list[str]:
    """Return the columns of a line, none for an empty line. With tabs, an empty column counts, even at the end."""
    if not line.strip():
        return []
    return [cell.strip() for cell in line.split("\t")] if tabs else GAP.split(line.strip())


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of columns that most lines have; 2, a token and a tag, if no line has any."""
    counts = Counter(len(cells) for cells in rows if len(cells) > 1 and cells[0] != DOCUMENT_START)
    return counts.most_common(1)[0][0] if counts else 2


def _is_comment(line: str, cells: Sequence[str], width: int) -> bool:
    """Return whether a line is a comment: `# ...` with an unusual number of columns and no tag, as # may be a token."""
    return line.startswith("# ") and len(cells) != width and not TAG.fullmatch(cells[-1])


def _is_valid(number: int, cells: Sequence[str], width: int, tabs: bool, errors: LineErrors) -> bool:
    """Return whether a line holds a token and a tag; if not, add an error."""
    if len(cells) != width:
        what = f"{len(cells)} column{'s' * (len(cells) != 1)}, but the other lines have {width}"
        gap = "tab" if tabs else "space"
        fix = f"write one token and its tag with a {gap} between, {OUTSIDE} for a token outside any span"
        errors.add(number, what, fix)
    elif not cells[0]:
        errors.add(number, "the token is empty", "remove the line, or write the token")
    elif not cells[-1]:
        errors.add(number, "the tag is empty", f"write the tag, {OUTSIDE} for a token outside any span")
    elif "\r" in cells[0] or "\0" in cells[0]:
        errors.add(number, "the token holds a carriage return or a null character", "remove it")
    else:
        return True
    return False
