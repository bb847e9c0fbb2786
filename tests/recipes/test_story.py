"""The shipped story is as long as its README says, has few characters, and does not repeat itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

STORY = Path(__file__).parents[2] / "app" / "recipes" / "data" / "text" / "story.txt"


def test_the_size_is_that_of_the_readme() -> None:
    text = STORY.read_text(encoding="ascii")
    assert len(text) == 20_570
    assert len(set(text)) == 70


def test_no_paragraph_occurs_twice() -> None:
    paragraphs = Counter(STORY.read_text(encoding="ascii").split("\n\n"))
    assert {p: n for p, n in paragraphs.items() if n > 1 and p.strip()} == {}


def test_no_line_ends_with_white_space() -> None:
    assert all(line == line.rstrip() for line in STORY.read_text(encoding="ascii").split("\n"))
