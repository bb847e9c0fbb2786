"""Attention at the shapes of models: `scaled_dot_product_attention`, forward alone and forward with backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, kernel_work, rate
from app.benchmark.kernels.matmul import bytes_of, dtype_of, unsupported
from app.benchmark.limits import Limits, flop_unit
from app.benchmark.results import Kernel
from app.benchmark.timer import Timing, clock_for, measure
from app.hardware.peaks import Precision


@dataclass(frozen=True)
class AttentionShape:
    """One model's attention: B sequences, H heads, T positions, heads of width D."""

    model: str
    B: int
    H: int
    T: int
    D: int
    causal: bool

    @property
    def flops(self) -> float:
        """Forward FLOPs: Q K^T and its product with V, 2 B H T T D each; a causal mask halves both."""
        return 4.0 * self.B * self.H * self.T * self.T * self.D * (0.5 if self.causal else 1.0)

    @property
    def elements(self) -> float:
        """Elements of Q, which are also those of K, V and the output."""
        return float(self.B * self.H * self.T * self.D)


ATTENTION_SHAPES: dict[str, tuple[AttentionShape, ...]] = {
    "cpu": (AttentionShape("gpt-char", 12, 4, 64, 32, True), AttentionShape("MiniLM", 32, 12, 32, 32, False)),
    "cuda": (
        AttentionShape("GPT-2 124M", 12, 12, 1024, 64, True),
        AttentionShape("BERT-base", 32, 12, 128, 64, False),
    ),
}


def attention_shapes(device: torch.device) -> tuple[AttentionShape, ...]:
    """Return the shapes that are measured on this kind of device."""
    return ATTENTION_SHAPES.get(device.type, ATTENTION_SHAPES["cpu"])


def measure_attention(shapes: Sequence[AttentionShape], limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """Measure each shape in fp32 and bf16, the calls of one shape interleaved, within about `seconds` for all."""
    device = limits.device
    reasons = unsupported(device)
    precisions: list[Precision] = [p for p in ("fp32", "bf16") if not reasons[p]]
    clock = clock_for(device, flush=True)
    kernels: list[Kernel] = []
    for shape in shapes:
        name = f"attention {shape.model}"
        if not budget.allows(name, seconds / len(shapes)):
            continue
        timings: dict[tuple[Precision, bool], Timing] = {}
        with budget.guard(name):
            calls: dict[tuple[Precision, bool], Callable[[], object]] = {}
            for precision in precisions:
                calls[precision, False], calls[precision, True] = _calls(shape, precision, device)
            timings = measure(calls, clock, seconds / len(shapes))
        kernels += [_kernel(shape, p, training, timing, limits) for (p, training), timing in timings.items()]
    return kernels


def _kernel(shape: AttentionShape, precision: Precision, training: bool, timing: Timing, limits: Limits) -> Kernel:
    unit, scale = flop_unit(limits.device)
    # Backward computes dV, dP, dQ and dK, four products to the forward's two. It reads Q, K, V, O, dO and writes three.
    flops = shape.flops * (3 if training else 1)
    moved = shape.elements * bytes_of(precision) * (12 if training else 4)
    limit = limits.roofline_flops(precision, flops, moved)
    shortest = Limit(limit.value and 1e3 * flops / scale / limit.value, limit.source)
    return Kernel(
        name=f"attention {shape.model} {precision} {'training' if training else 'forward'}",
        group="attention",
        precision=precision,
        shape=f"B {shape.B}, H {shape.H}, T {shape.T}, D {shape.D}{', causal' if shape.causal else ''}",
        figures={"rate": rate(flops / scale, unit, timing, limit)},
        work=kernel_work(timing, flops, moved, shortest),
    )


def _calls(
    shape: AttentionShape, precision: Precision, device: torch.device
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return a call of the forward pass alone, and one of the forward and backward passes."""
    sizes = (shape.B, shape.H, shape.T, shape.D)
    dtype = dtype_of(precision)
    q, k, v = (torch.randn(sizes, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    upstream = torch.randn(sizes, device=device, dtype=dtype)

    def forward() -> object:
        with torch.no_grad():
            return F.scaled_dot_product_attention(q, k, v, is_causal=shape.causal)

    def training() -> object:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=shape.causal)
        return torch.autograd.grad(out, (q, k, v), upstream)

    return forward, training
