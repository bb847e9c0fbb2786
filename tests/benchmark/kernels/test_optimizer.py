"""AdamW is timed in every implementation that torch has for the device."""

from __future__ import annotations

from app.benchmark.budget import Budget
from app.benchmark.kernels.optimizer import measure_adamw
from tests.benchmark.sample_results import cpu_limits


def test_each_implementation_is_timed_and_its_bytes_counted() -> None:
    sizes = [(16, 48), (48,)]
    kernels = {kernel.name: kernel for kernel in measure_adamw("AdamW x", sizes, cpu_limits(), Budget(5), 0.2)}
    assert {"optimizer AdamW x foreach", "optimizer AdamW x for-loop"} <= kernels.keys()
    assert kernels["optimizer AdamW x foreach"].work.bytes == 28 * (16 * 48 + 48)
