"""A step waits for its batch for the time that neither workers nor the previous step hide."""

from __future__ import annotations

import pytest

from app.benchmark.steps.profile import input_wait


@pytest.mark.parametrize(
    ("loading", "step", "workers", "wait"), [(0.03, 0.1, 0, 0.03), (0.03, 0.1, 2, 0.0), (0.15, 0.1, 2, 0.05)]
)
def test_a_step_waits_for_the_time_that_its_workers_do_not_hide(
    loading: float, step: float, workers: int, wait: float
) -> None:
    assert input_wait(loading, step, workers) == pytest.approx(wait)
