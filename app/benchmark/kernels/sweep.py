"""Everything about the machine itself: products and memory first, then what is set against them."""

from __future__ import annotations

import torch

from app.benchmark.budget import Budget
from app.benchmark.kernels import attention_adamw, matmul, memory
from app.benchmark.limits import Limits
from app.benchmark.results import Kernel
from app.hardware.peaks import PRECISIONS

# Shares of the time for kernels. Products are timed at the most shapes, and every MFU hangs on them. They add up to
# less than 1: inputs have to be made too, and what overruns must not push the last ones out.
_SHARES = {"matmul": 0.45, "memory": 0.12, "transfer": 0.05, "attention": 0.12, "optimizer": 0.08}


def measure_kernels(device: torch.device, limits: Limits, budget: Budget) -> list[Kernel]:
    """Measure all kernels within the budget, and fill in the measured peaks of `limits`."""
    seconds = budget.left
    kernels = matmul.sweep(device, limits, budget, _SHARES["matmul"] * seconds)
    for precision in PRECISIONS:
        rates = [k.work.flops / k.work.seconds for k in kernels if k.precision == precision]
        if rates:
            limits.measured_flops[precision] = max(rates)
    with budget.guard("memory bandwidth"):
        moving = memory.bandwidth(device, limits, budget, _SHARES["memory"] * seconds)
        limits.measured_bandwidth = max((k.work.bytes / k.work.seconds for k in moving), default=None)
        kernels += moving
    with budget.guard("transfer between host and device"):
        kernels += memory.transfers(device, budget, _SHARES["transfer"] * seconds)
    shapes = attention_adamw.ATTENTION.get(device.type, attention_adamw.ATTENTION["cpu"])
    kernels += attention_adamw.attention(shapes, limits, budget, _SHARES["attention"] * seconds)
    kernels += attention_adamw.optimizer(
        "AdamW", attention_adamw.model_like(device), limits, budget, _SHARES["optimizer"] * seconds
    )
    return kernels
