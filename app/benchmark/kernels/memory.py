"""How fast memory moves: copy and triad on the device, and transfers between it and the host.

Bytes are counted as STREAM does (McCalpin 1995): every array read once and written once, without the line that a CPU
reads before it writes it. The arrays' size stands in the result, beside the size of the last-level cache: a processor
whose cache holds a good part of them shows more than its memory gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, rate, work
from app.benchmark.limits import BANDWIDTH_UNIT, Limits
from app.benchmark.machine import pcie_link
from app.benchmark.results import Kernel
from app.benchmark.timer import Timing, clock_for, measure

ARRAY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
TRANSFER_BYTES = 256 << 20
_FLOAT = 4


def bandwidth(device: torch.device, limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """Copy `c = a` (2 arrays moved) and triad `a = b + s c` (3 arrays, 2 operations an element) in float32."""
    if not budget.allows("memory bandwidth", seconds):
        return []
    size = ARRAY_BYTES.get(device.type, ARRAY_BYTES["cpu"])
    count = size // _FLOAT
    a, b, c = (torch.randn(count, device=device) for _ in range(3))
    calls: dict[str, Callable[[], object]] = {
        "copy": lambda: c.copy_(a),
        "triad": lambda: torch.add(b, c, alpha=3.0, out=a),
    }
    timings = measure(calls, clock_for(device), seconds)
    text = f"{size >> 20} MiB an array, float32"
    limit = limits.datasheet_bandwidth()
    return [
        _kernel("memory", "copy", f"c = a; {text}; 2 arrays moved", 2.0 * size, 0.0, timings["copy"], limit),
        _kernel(
            "memory", "triad", f"a = b + s c; {text}; 3 arrays moved", 3.0 * size, 2.0 * count, timings["triad"], limit
        ),
    ]


def transfers(device: torch.device, budget: Budget, seconds: float) -> list[Kernel]:
    """Host to device and back, from pageable and from pinned memory."""
    if device.type != "cuda":
        budget.skip("transfer between host and device", "a CPU's memory is the host's")
        return []
    if not budget.allows("transfer between host and device", seconds):
        return []
    count = TRANSFER_BYTES // _FLOAT
    there = torch.randn(count, device=device)
    pageable, pinned = torch.randn(count), torch.randn(count).pin_memory()
    calls: dict[str, Callable[[], object]] = {
        "host to device pageable": lambda: there.copy_(pageable),
        "host to device pinned": lambda: there.copy_(pinned, non_blocking=True),
        "device to host pageable": lambda: pageable.copy_(there),
        "device to host pinned": lambda: pinned.copy_(there, non_blocking=True),
    }
    timings = measure(calls, clock_for(device), seconds)
    limit = link_limit(device)
    text = f"{TRANSFER_BYTES >> 20} MiB, counted once"
    return [_kernel("transfer", name, text, float(TRANSFER_BYTES), 0.0, timings[name], limit) for name in calls]


# GB/s of one lane after line coding, by PCIe generation (PCI Express base specifications: 2.5, 5, 8, 16, 32 GT/s).
_LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938}


def link_limit(device: torch.device) -> Limit:
    """What the PCIe link can carry one way, where NVML says which link it is."""
    link = pcie_link(device)
    if link is None or link[0] not in _LANE:
        return Limit(None, "NVML does not say which PCIe link the card is on")
    generation, lanes = link
    return Limit(_LANE[generation] * lanes, f"PCIe {generation}.0 x{lanes}, one way")


def _kernel(
    group: Literal["memory", "transfer"],
    name: str,
    shape: str,
    moved: float,
    flops: float,
    timing: Timing,
    limit: Limit,
) -> Kernel:
    unit, scale = BANDWIDTH_UNIT
    figures = {"bandwidth": rate(moved / scale, unit, timing, limit)}
    least = Limit(limit.value and 1e3 * moved / scale / limit.value, limit.source)
    return Kernel(f"{group} {name}", group, "fp32", shape, figures, work(timing, flops, moved, least))
