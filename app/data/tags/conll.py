"""CoNLL columns: a token a line, its tag in the last column, an empty line between sentences.

    Ada         B-PER
    Lovelace    I-PER
    wrote       O

Columns are parted by tabs, or all by spaces; the token is the first and the tag the last, so that CoNLL-2003 (four
columns) reads as it is. `-DOCSTART-` lines and comments are left out. Every line of a file has the same number of
columns; one that has not is a fault, since a token with a space in it would otherwise be read as something else
without a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from app.data.files import Faults, decoded_lines
from app.data.tags.schemes import OUTSIDE, Sentence

DOCUMENT_START = "-DOCSTART-"
BYTE_ORDER_MARK = (
    "\ufeff"  # in front of the text, and left alone on a line where files were joined (WNUT-17's dev set ends so)
)
GAP = re.compile(r"[ \t]+")
TAG = re.compile(r"O|[BIESLU]-.+")


def read_columns(path: Path, faults: Faults) -> list[Sentence]:
    """Sentences of a CoNLL file with their tags as written. Each line that cannot be read becomes a fault."""
    lines = [(number, line.strip(BYTE_ORDER_MARK)) for number, line in decoded_lines(path, faults)]
    tabs = _parted_by_tabs([line for _, line in lines])
    rows = [(number, line, _cells(line, tabs)) for number, line in lines]
    width = _usual_width([cells for _, _, cells in rows])
    sentences, current = [], Sentence([], [], [])
    for number, line, cells in rows:
        if not cells or cells[0] == DOCUMENT_START:
            if current.tokens:
                sentences.append(current)
                current = Sentence([], [], [])
        elif not _is_comment(line, cells, width) and _is_sound(number, cells, width, tabs, faults):
            current.tokens.append(cells[0])
            current.tags.append(cells[-1])
            current.lines.append(number)
    return [*sentences, current] if current.tokens else sentences


def _parted_by_tabs(lines: Sequence[str]) -> bool:
    """Whether the columns of a file are parted by tabs: those of most lines that have any."""
    with_tab = sum("\t" in line.strip() for line in lines)
    return with_tab * 2 > sum(bool(GAP.search(line.strip())) for line in lines)


def _cells(line: str, tabs: bool) -> list[str]:
    """Columns of a line, none for an empty one. With tabs an empty column counts, at the end of the line too."""
    if not line.strip():
        return []
    return [cell.strip() for cell in line.split("\t")] if tabs else GAP.split(line.strip())


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    """The number of columns that most lines have; at least a token and a tag."""
    counts = Counter(len(cells) for cells in rows if len(cells) > 1 and cells[0] != DOCUMENT_START)
    return counts.most_common(1)[0][0] if counts else 2


def _is_comment(line: str, cells: Sequence[str], width: int) -> bool:
    """`# ...` with another number of columns than the rest has, and no tag at its end; a token may be a # too."""
    return line.startswith("# ") and len(cells) != width and not TAG.fullmatch(cells[-1])


def _is_sound(number: int, cells: Sequence[str], width: int, tabs: bool, faults: Faults) -> bool:
    if len(cells) != width:
        what = f"{len(cells)} column{'s' * (len(cells) != 1)} where the other lines have {width}"
        gap = "tab" if tabs else "space"
        faults.add(
            number, what, f"write one token and its tag with a {gap} between, {OUTSIDE} for a token outside any span"
        )
    elif not cells[0]:
        faults.add(number, "the token is empty", "remove the line, or write the token")
    elif not cells[-1]:
        faults.add(number, "the tag is empty", f"write the tag, {OUTSIDE} for a token outside any span")
    elif "\r" in cells[0] or "\0" in cells[0]:
        faults.add(number, "the token holds a control character that parts lines or ends texts", "remove it")
    else:
        return True
    return False
