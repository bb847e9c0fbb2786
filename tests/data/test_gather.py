"""Several readings at once: what is wrong with any of them is told."""

from __future__ import annotations

from typing import NoReturn

import pytest

from app.data.gather import all_of
from app.errors import DataError, Problem

TWICE = Problem("told once", "")


def fails(*problems: Problem) -> NoReturn:
    raise DataError(*problems)


def test_what_succeeds_comes_in_order() -> None:
    assert all_of([lambda: 2, lambda: 1]) == [2, 1]


def test_the_problems_of_all_that_fail_come_together_each_once() -> None:
    first, last = Problem("first", ""), Problem("last", "")
    with pytest.raises(DataError) as caught:
        all_of([lambda: fails(first, TWICE), lambda: 1, lambda: fails(TWICE, last)])
    assert caught.value.problems == (first, TWICE, last)


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        all_of([lambda: fails(TWICE), lambda: 1 // 0])
