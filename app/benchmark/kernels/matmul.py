"""Matrix products in every precision over a sweep of shapes: the highest rate that this machine reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, kernel_work, rate
from app.benchmark.limits import Limits, flop_unit
from app.benchmark.results import Kernel
from app.benchmark.timer import Timing, clock_for, measure
from app.hardware.peaks import PRECISIONS, Precision

Shape = tuple[int, int, int]  # M, N, K of (M, K) @ (K, N)

# Cubes for the highest rate. Then the shapes of models: the two halves of MiniLM's MLP (width 384) at 1,024 tokens;
# the fused QKV and the MLP of GPT-2 124M (width 768) at 12 x 1,024 tokens.
SHAPES: dict[str, tuple[Shape, ...]] = {
    "cpu": (*((n, n, n) for n in (256, 512, 1024, 2048)), (1024, 1536, 384), (1024, 384, 1536)),
    "cuda": (
        *((n, n, n) for n in (1024, 2048, 4096, 8192, 16384)),
        *((12288, 2304, 768), (12288, 3072, 768), (12288, 768, 3072)),
    ),
}
_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the dtype of tensors in this precision; for tf32 that is float32, which it only multiplies differently."""
    return _DTYPES[precision]


def bytes_of(precision: Precision) -> float:
    """Return the bytes of one element."""
    return torch.finfo(_DTYPES[precision]).bits / 8


def unsupported(device: torch.device) -> dict[Precision, str]:
    """Return for each precision why this device cannot multiply in it; an empty string if it can."""
    reasons: dict[Precision, str] = {}
    for precision in PRECISIONS:
        reasons[precision] = ""
        if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
            reasons[precision] = "only GPUs from Ampere on multiply in tf32"
        elif precision == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            reasons[precision] = "GPUs before Ampere have no bf16 units"
        else:
            try:
                probe = torch.ones(8, 8, dtype=_DTYPES[precision], device=device)
                probe @ probe
            except RuntimeError as error:
                reasons[precision] = f"torch {torch.__version__} cannot multiply it here: {error}"
    return reasons


def matmul_call(a: torch.Tensor, b: torch.Tensor, precision: Precision) -> Callable[[], object]:
    """Return a call that multiplies a by b, float32 in tf32 or not as `precision` says.

    Each call sets torch's process-wide float32 mode, because calls of other precisions take turns with it. Run the
    calls inside `float32_mode_restored`.
    """
    mode = "high" if precision == "tf32" else "highest"

    def call() -> object:
        _set_float32_mode(mode)
        return a @ b

    return call


@contextmanager
def float32_mode_restored() -> Iterator[None]:
    """Restore torch's process-wide float32 matmul precision at the end of the block."""
    before = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        _set_float32_mode(before)


def sweep(device: torch.device, limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """Measure every precision at every shape, precisions of one shape interleaved, within about `seconds`."""
    reasons = unsupported(device)
    for precision, reason in reasons.items():
        if reason:
            budget.skip(f"matmul {precision}", reason)
    precisions: list[Precision] = [p for p in PRECISIONS if not reasons[p]]
    shapes = SHAPES.get(device.type, SHAPES["cpu"])
    clock = clock_for(device, flush=True)
    kernels: list[Kernel] = []
    with float32_mode_restored():
        for shape in shapes:
            name = f"matmul {_text(shape)}"
            if not _fits(shape, precisions, device):
                budget.skip(name, "the device has no memory for it in every precision at once")
            elif budget.allows(name, seconds / len(shapes)):
                with budget.guard(name):
                    calls = {p: _random_matmul(shape, p, device) for p in precisions}
                    timings = measure(calls, clock, seconds / len(shapes))
                    kernels += [_kernel(shape, p, timings[p], limits) for p in precisions]
    return kernels


def _set_float32_mode(mode: str) -> None:
    untyped: Any = torch.set_float32_matmul_precision
    untyped(mode)


def _fits(shape: Shape, precisions: Sequence[Precision], device: torch.device) -> bool:
    """Return whether the inputs and outputs of all precisions fit into four fifths of a GPU's free memory."""
    if device.type != "cuda":
        return True
    m, n, k = shape
    needed = sum(bytes_of(precision) * (m * k + k * n + m * n) for precision in precisions)
    return needed < 0.8 * torch.cuda.mem_get_info(device)[0]


def _random_matmul(shape: Shape, precision: Precision, device: torch.device) -> Callable[[], object]:
    # Normally distributed inputs: constant ones draw less power, and a GPU then clocks higher than it does in training.
    m, n, k = shape
    dtype = _DTYPES[precision]
    a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
    return matmul_call(a, b, precision)


def _kernel(shape: Shape, precision: Precision, timing: Timing, limits: Limits) -> Kernel:
    m, n, k = shape
    flops = 2.0 * m * n * k
    unit, scale = flop_unit(limits.device)
    limit = limits.datasheet_flops(precision)
    shortest = Limit(limit.value and 1e3 * flops / scale / limit.value, limit.source)
    return Kernel(
        name=f"matmul {precision} {_text(shape)}",
        group="matmul",
        precision=precision,
        shape=f"(M, K) @ (K, N), M x N x K = {_text(shape)}; 2 M N K operations; both inputs and the output moved once",
        figures={"rate": rate(flops / scale, unit, timing, limit)},
        work=kernel_work(timing, flops, bytes_of(precision) * (m * k + k * n + m * n), shortest),
    )


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
