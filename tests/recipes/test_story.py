"""The shipped story is long enough to learn from, in few characters, and does not repeat itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

STORY = Path(__file__).parents[2] / "app" / "recipes" / "data" / "text" / "story.txt"


def test_its_size_is_what_the_readme_says() -> None:
    text = STORY.read_text(encoding="ascii")
    assert len(text) == 20_570
    assert len(set(text)) == 70


def test_no_paragraph_stands_twice() -> None:
    paragraphs = Counter(STORY.read_text(encoding="ascii").split("\n\n"))
    assert {p: n for p, n in paragraphs.items() if n > 1 and p.strip()} == {}


def test_lines_end_without_stray_white_space() -> None:
    assert all(line == line.rstrip() for line in STORY.read_text(encoding="ascii").split("\n"))
