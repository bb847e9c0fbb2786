"""The page is self-contained and escaped, and has every figure."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from app.benchmark.report.html import to_html
from app.benchmark.report.markdown import figure_rows
from tests.benchmark.sample_results import result


class Page(HTMLParser):
    """Collects the links that a browser would fetch, and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_fetches_nothing() -> None:
    text = to_html(result())
    parsed = Page(text)
    assert parsed.links == []
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_the_page_escapes_its_texts() -> None:
    text = to_html(result())
    assert "A Processor &lt;with &amp; signs&gt;" in text
    assert "<with" not in text


def test_the_page_has_every_figure() -> None:
    sample = result()
    text = to_html(sample)
    for row in (*figure_rows(sample.kernels), *figure_rows(sample.steps)):
        assert all(f"<td>{cell}</td>" in text for cell in row.cells)


def test_a_result_without_steps_still_makes_a_to_html() -> None:
    empty = replace(result(), steps=(), diagnoses=(), kernels=())
    assert "None was measured" in to_html(empty) and "No roofline" in to_html(empty)
