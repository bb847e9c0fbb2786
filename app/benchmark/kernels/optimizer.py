"""AdamW's step over the parameters of a model, in every implementation that torch has for the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from app.benchmark.budget import Budget
from app.benchmark.figure import duration, kernel_work
from app.benchmark.limits import Limits
from app.benchmark.results import Kernel
from app.benchmark.timer import Timing, clock_for, measure
from app.errors import first_line

Size = tuple[int, ...]

# Width and blocks of the model whose parameters are stepped: MiniLM on a CPU, GPT-2 124M on a GPU.
MODEL_SIZES = {"cpu": (384, 6), "cuda": (768, 17)}
ADAMW_BYTES = 7 * 4  # a parameter: reads itself, its gradient and two moments; writes itself and the moments; float32
ADAMW_FLOPS = 14  # a parameter: two moments 3 + 4, square root, correction, division, decay and step 7


def typical_sizes(device: torch.device) -> list[Size]:
    """Return the sizes of a transformer's matrices, as large a model as is usual on this kind of device."""
    width, blocks = MODEL_SIZES.get(device.type, MODEL_SIZES["cpu"])
    return [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)] * blocks


def measure_adamw(name: str, sizes: Sequence[Size], limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """Time one AdamW step over parameters of these sizes, the implementations interleaved, within about `seconds`."""
    name, device = f"optimizer {name}", limits.device
    if not budget.allows(name, seconds):
        return []
    calls: dict[str, Callable[[], object]] = {}
    for kind in ("foreach", "fused", "for-loop"):
        try:
            calls[kind] = _adamw_step(kind, sizes, device)
        except RuntimeError as error:
            why = first_line(error)
            budget.skip(f"{name} {kind}", f"torch {torch.__version__} cannot step it on {device.type}: {why}")
    timings: dict[str, Timing] = {}
    with budget.guard(name):
        timings = measure(calls, clock_for(device), seconds)
    count = float(sum(math.prod(size) for size in sizes))
    moved = ADAMW_BYTES * count
    limit = limits.memory_time(moved)
    return [
        Kernel(
            name=f"{name} {kind}",
            group="optimizer",
            precision="fp32",
            shape=f"{count / 1e6:.3g} M parameters in {len(sizes)} arrays; {ADAMW_BYTES} bytes moved for each",
            figures={"time": duration(timing, limit)},
            work=kernel_work(timing, ADAMW_FLOPS * count, moved, limit),
        )
        for kind, timing in timings.items()
    ]


def _adamw_step(kind: str, sizes: Sequence[Size], device: torch.device) -> Callable[[], object]:
    """Return one implementation's step, after a first one, which allocates the moments.

    Raises RuntimeError if torch has no such implementation for the device, or runs out of memory.
    """
    parameters = [torch.nn.Parameter(torch.randn(size, device=device)) for size in sizes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    adamw = torch.optim.AdamW(parameters, lr=1e-4, foreach=kind == "foreach", fused=kind == "fused")
    adamw.step()
    return adamw.step
