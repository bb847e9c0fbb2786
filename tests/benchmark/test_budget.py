"""A budget is read as people write it, counts down, and records what was skipped."""

from __future__ import annotations

import time

import pytest
import torch

from app.benchmark.budget import Budget, parse_seconds
from app.errors import ConfigError


@pytest.mark.parametrize(("text", "seconds"), [("60", 60), ("60s", 60), ("2m", 120), ("1.5min", 90), ("1h", 3600)])
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5s", "soon", "5 parsecs", "1e3"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget"):
        parse_seconds(text)


def test_what_does_not_fit_is_recorded_with_the_reason() -> None:
    budget = Budget(10, started=time.monotonic() - 8)
    assert budget.allows("short", 1)
    assert not budget.allows("long", 5)
    assert [(item.name, "5 s" in item.reason, "10 s" in item.reason) for item in budget.skipped] == [
        ("long", True, True)
    ]


def test_a_part_is_within_the_whole_and_shares_its_list() -> None:
    whole = Budget(10)
    part = whole.part(60)
    assert part.seconds <= 10
    part.skip("x", "because")
    assert [item.name for item in whole.skipped] == ["x"]


def fail(error: Exception) -> None:
    raise error


def test_a_failure_is_recorded_by_its_first_line_and_the_rest_continues() -> None:
    budget = Budget(10)
    with budget.guard("attention"):
        fail(RuntimeError("\nCUDA out of memory.\nTried to allocate ...\n"))
    with budget.guard("quiet"):
        fail(torch.cuda.OutOfMemoryError())
    assert [(item.name, item.reason) for item in budget.skipped] == [
        ("attention", "CUDA out of memory."),
        ("quiet", "OutOfMemoryError"),
    ]
    with pytest.raises(ValueError, match="a bug"), budget.guard("x"):
        fail(ValueError("a bug"))
