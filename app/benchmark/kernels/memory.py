"""Memory bandwidth: copy and triad on the device, and transfers between device and host.

Bytes are counted as in STREAM (McCalpin 1995): each array once for every read and every write, without the cache line
that a CPU reads before it writes to it. The result records the size of the arrays and of the last-level cache, because
a processor whose cache holds a good part of the arrays shows more than its memory bandwidth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, kernel_work, rate
from app.benchmark.limits import BANDWIDTH_UNIT, Limits
from app.benchmark.machine import pcie_link
from app.benchmark.results import Kernel
from app.benchmark.timer import Timing, clock_for, measure

ARRAY_BYTES = {"cpu": 256 << 20, "cuda": 1 << 30}
TRANSFER_BYTES = 256 << 20
_FLOAT = 4


def bandwidth(device: torch.device, limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """Measure copy `c = a` (2 arrays moved) and triad `a = b + s c` (3 arrays, 2 FLOPs an element) in float32."""
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
    """Measure copies from host to device and back, of pageable and of pinned memory."""
    if device.type != "cuda":
        budget.skip("transfer between host and device", "a CPU's memory is the host's")
        return []
    if not budget.allows("transfer between host and device", seconds):
        return []
    count = TRANSFER_BYTES // _FLOAT
    on_device = torch.randn(count, device=device)
    pageable, pinned = torch.randn(count), torch.randn(count).pin_memory()
    calls: dict[str, Callable[[], object]] = {
        "host to device pageable": lambda: on_device.copy_(pageable),
        "host to device pinned": lambda: on_device.copy_(pinned, non_blocking=True),
        "device to host pageable": lambda: pageable.copy_(on_device),
        "device to host pinned": lambda: pinned.copy_(on_device, non_blocking=True),
    }
    timings = measure(calls, clock_for(device), seconds)
    limit = pcie_limit(device)
    text = f"{TRANSFER_BYTES >> 20} MiB, counted once"
    return [_kernel("transfer", name, text, float(TRANSFER_BYTES), 0.0, timings[name], limit) for name in calls]


# GB/s of one lane after line coding, by PCIe generation (PCI Express base specifications: 2.5, 5, 8, 16, 32 GT/s).
_LANE_BANDWIDTH = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938}


def pcie_limit(device: torch.device) -> Limit:
    """Return the bandwidth of the PCIe link in one direction, in GB/s; unknown if NVML does not report the link."""
    link = pcie_link(device)
    if link is None or link[0] not in _LANE_BANDWIDTH:
        return Limit(None, "NVML does not say which PCIe link the card is on")
    generation, lanes = link
    return Limit(_LANE_BANDWIDTH[generation] * lanes, f"PCIe {generation}.0 x{lanes}, one way")


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
    shortest = Limit(limit.value and 1e3 * moved / scale / limit.value, limit.source)
    return Kernel(f"{group} {name}", group, "fp32", shape, figures, kernel_work(timing, flops, moved, shortest))
