"""MFU counts useful work, and compiling pays back only if it makes the step faster."""

from __future__ import annotations

import pytest

from app.benchmark.steps.step_figures import compile_figures, step_figures
from app.benchmark.timer import Timing
from tests.benchmark.sample_results import cpu_limits


def test_mfu_is_useful_work_over_what_the_peak_could_do() -> None:
    timing = Timing(0.1, 0.1, 0.1, 5)
    figures = step_figures(timing, "fp32", 5e9, useful=800, padded=1000, memory=None, limits=cpu_limits())
    assert figures["MFU of measured peak"].value == pytest.approx(50.0)
    assert figures["time"].limit.value == pytest.approx(50.0)
    assert figures["useful tokens"].value == pytest.approx(8000)
    assert figures["padded tokens"].value == pytest.approx(10_000)
    assert "MFU of datasheet peak" not in figures, "a CPU has none"


def test_compiling_pays_back_only_if_it_makes_the_step_faster() -> None:
    eager, faster, slower = (Timing(t, t, t, 5) for t in (0.10, 0.06, 0.20))
    figures = compile_figures(first_seconds=20.06, compiled=faster, eager=eager)
    assert figures["compile for one shape"].value == pytest.approx(20.0)
    assert figures["pay-back for one shape"].value == pytest.approx(500)
    assert "pay-back for one shape" not in compile_figures(20.0, slower, eager)
