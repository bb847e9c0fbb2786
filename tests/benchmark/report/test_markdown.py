"""No number without its unit, its spread and its limit: in Markdown, in the terminal and on the page alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from app.benchmark.report.markdown import explained, markdown, number, percent, row, rows, terminal, verdict
from app.benchmark.report.page import bars, page
from app.benchmark.results import Result
from tests.benchmark.made import figure, noisy, result

UNITS = ("GFLOP/s", "GB/s", "ms")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.000123456, "0.000123"),
        (0.5, "0.5"),
        (30.46, "30.5"),
        (189.4, "189"),
        (1234.5, "1,234"),
        (-2.345, "-2.35"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.84, "84%"), (1.0, "100%"), (0.0312, "3.1%"), (3e-6, "0.0003%")])
def test_a_small_share_is_told_from_nothing(share: float, text: str) -> None:
    assert percent(share) == text


def test_every_row_has_unit_spread_count_and_limit() -> None:
    made = result()
    for found in (*rows(made.kernels), *rows(made.steps)):
        unit = next(unit for unit in UNITS if found.value.endswith(unit))
        assert re.fullmatch(rf"[\d.,]+ to [\d.,]+ {unit}", found.spread)
        assert found.n == "50"
        assert found.limit.startswith("none: ") or re.match(rf"[\d.,]+ {unit}: .+", found.limit)


def test_a_number_read_once_says_so() -> None:
    assert row("x", "memory", figure(n=1)).spread == "read once"


def test_markdown_has_every_figure_and_what_is_missing() -> None:
    made = result()
    text = markdown(made)
    for found in (*rows(made.kernels), *rows(made.steps)):
        assert f"| {' | '.join(cell for cell in found.cells)} |" in text
    assert made.diagnoses[0].sentence in text
    assert "only GPUs from Ampere on \\| multiply in tf32" in text, "a bar inside a cell would end it"
    assert made.command in text and "torch 2.0.1" in text


@pytest.mark.parametrize("show", [markdown, terminal, page])
def test_a_noisy_machine_is_said_loudly(show: object) -> None:
    assert callable(show)
    assert "NOISY" in show(noisy(result()))
    assert "NOISY" not in show(result())
    assert "twice in turns" in verdict(noisy(result()).noise)


def test_the_terminal_has_every_figure_with_unit_spread_and_limit() -> None:
    lines = terminal(result()).splitlines()
    step = next(line for line in lines if line.startswith("sentiment fp32 eager"))
    assert re.search(r"110 ms +109 to 111 ms +n 50 +80% of 88 ms", step)


@pytest.mark.parametrize("show", [markdown, page])
def test_the_diagnosis_in_numbers_has_unit_spread_and_limit(show: Callable[[Result], str]) -> None:
    text = show(result())
    for found in explained(result().diagnoses):
        assert found.limit and all(cell in text for cell in found.cells)
    assert "60 %" in text and "30 to 60 %" in text


def test_every_bar_has_unit_spread_count_and_limit() -> None:
    drawn = bars(result().steps)
    assert "fp32 eager: 110 ms (109 to 111, n 50, 80% of 88 ms)" in drawn


def test_the_verdict_has_unit_spread_count_and_limit() -> None:
    assert "self against self 0.4 % (0.2 to 0.4, n 3, 13% of 3 %)" in verdict(result().noise)


class Page(HTMLParser):
    """Collects what a browser would fetch, and the tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


def test_the_page_needs_nothing_but_itself() -> None:
    text = page(result())
    found = Page(text)
    assert found.links == []
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert "url(" not in text and "@import" not in text and "http" not in text


def test_the_page_escapes_what_it_shows() -> None:
    text = page(result())
    assert "A Processor &lt;with &amp; signs&gt;" in text
    assert "<with" not in text


def test_the_page_has_every_figure() -> None:
    made = result()
    text = page(made)
    for found in (*rows(made.kernels), *rows(made.steps)):
        assert all(f"<td>{cell}</td>" in text for cell in found.cells)


def test_a_result_without_steps_still_makes_a_page() -> None:
    bare: Result = replace(result(), steps=(), diagnoses=(), kernels=())
    assert "None was measured" in page(bare) and "No roofline" in page(bare)
