"""A figure has a unit, a limit and a spread, and a result survives its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.benchmark import suite
from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, duration, rate, single
from app.benchmark.limits import Limits
from app.benchmark.results import BenchmarkResult, Gate, Kernel, named_figures, read, write
from app.benchmark.timer import Timing
from app.errors import DataError
from tests.benchmark.sample_results import bare_numbers, noisy, result

TIMING = Timing(median=0.5, p10=0.4, p90=0.8, n=20)


def test_the_longest_times_are_the_lowest_rates() -> None:
    figure = rate(100.0, "tokens/s", TIMING, Limit(400.0, "limit"))
    assert (figure.value, figure.low, figure.high) == (200.0, 125.0, 250.0)
    assert figure.share == 0.5
    assert figure.spread == pytest.approx(0.625)


def test_a_times_share_is_its_limit_over_it() -> None:
    figure = duration(TIMING, Limit(250.0, "at the peak"))
    assert (figure.value, figure.low, figure.high, figure.unit) == (500.0, 400.0, 800.0, "ms")
    assert figure.share == 0.5


def test_the_share_of_a_ceiling_is_the_value_over_it() -> None:
    figure = single(25.0, "MiB", Limit(100.0, "all of it", ceiling=True))
    assert figure.share == 0.25 and figure.n == 1 and figure.spread == 0


def test_an_unknown_limit_gives_no_share() -> None:
    assert rate(1.0, "GB/s", TIMING, Limit(None, "not in the table")).share is None


@pytest.mark.parametrize(("loss", "passed"), [(0.70, True), (0.713, True), (0.72, False), (float("nan"), False)])
def test_the_gate_compares_with_float32(loss: float, passed: bool) -> None:
    assert Gate.of(loss, 0.70, 0.02).passed is passed


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    sample = result()
    write(sample, tmp_path / "bench.json")
    assert read(tmp_path / "bench.json") == sample


METADATA = {("benchmark_version",), ("budget_seconds",), ("used_seconds",)}


def written(result: BenchmarkResult, folder: Path) -> Any:
    write(result, folder / "bench.json")
    return json.loads((folder / "bench.json").read_text())


def test_every_number_in_the_file_is_in_a_figure(tmp_path: Path) -> None:
    assert set(bare_numbers(written(noisy(result()), tmp_path))) == METADATA


def test_every_measured_number_is_in_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kernels(device: torch.device, budget: Budget) -> tuple[Limits, list[Kernel]]:
        limits = replace(Limits.of(device), measured_flops={"fp32": 1e11}, measured_bandwidth=1e10)
        return limits, list(result().kernels)

    monkeypatch.setattr(suite, "measure_kernels", kernels)
    monkeypatch.setattr(suite, "LEAST_SECONDS", 0.0)
    found = suite.run(["hello-linear"], ["trainer.batch_size=64"], Budget(2))
    assert found.steps and found.diagnoses
    assert set(bare_numbers(written(found, tmp_path))) == METADATA


def test_a_result_of_another_version_is_refused_by_version(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text('{"benchmark_version": 1, "noise": {"ratio": 0.1}}')
    with pytest.raises(DataError, match="version 1; this version, 2, cannot read it"):
        read(path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"benchmark_version": "x"}'])
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"other\.json"):
        read(path)
    with pytest.raises(DataError, match="absent"):
        read(tmp_path / "absent.json")


def test_every_figure_has_a_unique_name() -> None:
    sample = result()
    of_kernels = sum(len(kernel.figures) for kernel in sample.kernels)
    count = len(sample.measured_peaks) + of_kernels + sum(len(step.figures) for step in sample.steps)
    assert len(named_figures(sample)) == count


def test_the_command_measures_the_same_again() -> None:
    assert result().command == "app bench --recipe sentiment trainer.batch_size=8 --budget 60s"
