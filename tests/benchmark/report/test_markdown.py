"""Every number in Markdown, in the terminal and on the page comes with its unit, spread and limit."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from app.benchmark.report.html import bars, to_html
from app.benchmark.report.markdown import (
    diagnosis_rows,
    figure_row,
    figure_rows,
    noise_sentence,
    number,
    percent,
    to_markdown,
    to_text,
)
from app.benchmark.results import BenchmarkResult
from tests.benchmark.sample_results import figure, noisy, result

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
def test_a_small_share_is_not_shown_as_zero(share: float, text: str) -> None:
    assert percent(share) == text


def test_every_row_has_unit_spread_count_and_limit() -> None:
    made = result()
    for row in (*figure_rows(made.kernels), *figure_rows(made.steps)):
        unit = next(unit for unit in UNITS if row.value.endswith(unit))
        assert re.fullmatch(rf"[\d.,]+ to [\d.,]+ {unit}", row.spread)
        assert row.n == "50"
        assert row.limit.startswith("none: ") or re.match(rf"[\d.,]+ {unit}: .+", row.limit)


def test_a_number_that_was_read_once_has_no_spread() -> None:
    assert figure_row("x", "memory", figure(n=1)).spread == "read once"


def test_markdown_has_every_figure_and_what_was_skipped() -> None:
    made = result()
    text = to_markdown(made)
    for row in (*figure_rows(made.kernels), *figure_rows(made.steps)):
        assert f"| {' | '.join(cell for cell in row.cells)} |" in text
    assert made.diagnoses[0].sentence in text
    assert "only GPUs from Ampere on \\| multiply in tf32" in text, "a bar inside a cell would end it"
    assert made.command in text and "torch 2.0.1" in text


@pytest.mark.parametrize("show", [to_markdown, to_text, to_html])
def test_a_noisy_machine_is_reported_in_capitals(show: Callable[[BenchmarkResult], str]) -> None:
    assert "NOISY" in show(noisy(result()))
    assert "NOISY" not in show(result())
    assert "twice in turns" in noise_sentence(noisy(result()).noise)


def test_the_terminal_has_every_figure_with_unit_spread_and_limit() -> None:
    lines = to_text(result()).splitlines()
    step = next(line for line in lines if line.startswith("sentiment fp32 eager"))
    assert re.search(r"110 ms +109 to 111 ms +n 50 +80% of 88 ms", step)


@pytest.mark.parametrize("show", [to_markdown, to_html])
def test_the_diagnosis_in_numbers_has_unit_spread_and_limit(show: Callable[[BenchmarkResult], str]) -> None:
    text = show(result())
    for row in diagnosis_rows(result().diagnoses):
        assert row.limit and all(cell in text for cell in row.cells)
    assert "60 %" in text and "30 to 60 %" in text


def test_every_bar_has_unit_spread_count_and_limit() -> None:
    drawn = bars(result().steps)
    assert "fp32 eager: 110 ms (109 to 111, n 50, 80% of 88 ms)" in drawn


def test_the_noise_has_unit_spread_count_and_limit() -> None:
    assert "self against self 0.4 % (0.2 to 0.4, n 3, 13% of 3 %)" in noise_sentence(result().noise)
