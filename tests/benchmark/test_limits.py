"""A figure's limit is the datasheet's or the roofline's, and an unknown one gives its reason."""

from __future__ import annotations

import pytest
import torch

from app.benchmark.limits import Limits
from tests.benchmark.sample_results import result


def test_the_roofline_limit_is_the_lower_of_both_roofs() -> None:
    limits = Limits(torch.device("cpu"), None, "a CPU", {"fp32": 100e9}, 10e9)
    assert limits.roofline_flops("fp32", flops=1e9, moved=1e9).value == pytest.approx(10.0)
    assert limits.roofline_flops("fp32", flops=1e9, moved=1e6).value == pytest.approx(100.0)
    assert limits.roofline_flops("bf16", flops=1e9, moved=1e6).value is None
    assert limits.memory_time(20e9).value == pytest.approx(2000.0)


def test_a_cpu_has_no_datasheet_limit_and_the_limit_gives_the_reason() -> None:
    limits = Limits.of(torch.device("cpu"))
    for limit in (limits.datasheet_flops("fp32"), limits.datasheet_bandwidth()):
        assert limit.value is None and "CPU" in limit.source


def test_measured_limits_are_the_highest_rates_of_matmul_and_memory() -> None:
    datasheet = Limits.of(torch.device("cpu"))
    limits = datasheet.with_measured(result().kernels)
    assert limits.measured_flops == {"fp32": pytest.approx(17e9 / 0.17), "bf16": pytest.approx(17e9 / 0.06)}
    assert limits.measured_bandwidth == pytest.approx(8e8 / 0.03)
    assert datasheet.measured_bandwidth is None and datasheet.with_measured([]).measured_bandwidth is None
