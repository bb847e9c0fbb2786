"""The parts of a training step beside its matrix products, each at a model's own shape: attention and the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from app.benchmark.budget import Budget
from app.benchmark.limits import Limits, flop_unit
from app.benchmark.matmul import bytes_of, dtype_of, usable
from app.benchmark.results import Kernel, duration, rate
from app.benchmark.timer import clock_for, measure
from app.models.peaks import Precision


@dataclass(frozen=True)
class Heads:
    """One model's attention: B sequences, H heads, T positions, D width of a head."""

    model: str
    B: int
    H: int
    T: int
    D: int
    causal: bool

    @property
    def flops(self) -> float:
        """Forward: Q K^T and its product with V, 2 B H T T D each, half of it where only the past is seen."""
        return 4.0 * self.B * self.H * self.T * self.T * self.D * (0.5 if self.causal else 1.0)

    @property
    def elements(self) -> float:
        """Of one of Q, K, V and the output."""
        return float(self.B * self.H * self.T * self.D)


ATTENTION: dict[str, tuple[Heads, ...]] = {
    "cpu": (Heads("gpt-char", 12, 4, 64, 32, True), Heads("MiniLM", 32, 12, 32, 32, False)),
    "cuda": (Heads("GPT-2 124M", 12, 12, 1024, 64, True), Heads("BERT-base", 32, 12, 128, 64, False)),
}
# Parameters of the model whose optimizer step is timed, as 12 blocks' worth of matrices: MiniLM on a CPU, GPT-2 124M.
OPTIMIZER_SIZES = {"cpu": (384, 6), "cuda": (768, 17)}
ADAMW_BYTES = 7 * 4  # a parameter: reads itself, its gradient and two moments; writes itself and the moments; float32
ADAMW_FLOPS = 14  # a parameter: two moments 3 + 4, square root, correction, division, decay and step 7


def attention(device: torch.device, limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """`scaled_dot_product_attention`, forward and with its backward, at the shapes of the models that ship."""
    precisions: list[Precision] = [p for p in ("fp32", "bf16") if not usable(device)[p]]
    shapes = ATTENTION.get(device.type, ATTENTION["cpu"])
    clock = clock_for(device, flush=True)
    unit, scale = flop_unit(device)
    kernels: list[Kernel] = []
    for heads in shapes:
        if not budget.allows(f"attention {heads.model}", seconds / len(shapes)):
            continue
        calls: dict[tuple[Precision, bool], Callable[[], object]] = {}
        for precision in precisions:
            calls[precision, False], calls[precision, True] = _attend(heads, precision, device)
        for (precision, training), timing in measure(calls, clock, seconds / len(shapes)).items():
            # Backward: dV, dP, dQ, dK are four products to the forward's two; Q, K, V, O, dO are read, three written.
            flops = heads.flops * (3 if training else 1)
            moved = heads.elements * bytes_of(precision) * (12 if training else 4)
            limit = limits.roofline_flops(precision, flops, moved)
            kernels.append(
                Kernel(
                    name=f"attention {heads.model} {precision} {'training' if training else 'forward'}",
                    group="attention",
                    precision=precision,
                    shape=f"B {heads.B}, H {heads.H}, T {heads.T}, D {heads.D}{', causal' if heads.causal else ''}",
                    figures={"rate": rate(flops / scale, unit, timing, limit)},
                    seconds=timing.median,
                    flops=flops,
                    bytes=moved,
                )
            )
    return kernels


def optimizer(device: torch.device, limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """One AdamW step over the parameters of a model, in each implementation that this torch has for the device."""
    if not budget.allows("optimizer AdamW", seconds):
        return []
    width, blocks = OPTIMIZER_SIZES.get(device.type, OPTIMIZER_SIZES["cpu"])
    calls: dict[str, Callable[[], object]] = {}
    for name in ("foreach", "fused", "for-loop"):
        shapes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)] * blocks
        parameters = [torch.nn.Parameter(torch.randn(shape, device=device)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        try:
            made = torch.optim.AdamW(parameters, lr=1e-4, foreach=name == "foreach", fused=name == "fused")
            made.step()
        except RuntimeError as error:
            budget.skip(f"optimizer AdamW {name}", f"torch {torch.__version__} has none for {device.type}: {error}")
            continue
        calls[name] = made.step
    timings = measure(calls, clock_for(device), seconds)
    count = float(sum(p.numel() for p in parameters))
    moved = ADAMW_BYTES * count
    return [
        Kernel(
            name=f"optimizer AdamW {name}",
            group="optimizer",
            precision="fp32",
            shape=f"{count / 1e6:.1f} M parameters in {len(parameters)} matrices; {ADAMW_BYTES} bytes moved for each",
            figures={"time": duration(timing, limits.memory_time(moved))},
            seconds=timing.median,
            flops=ADAMW_FLOPS * count,
            bytes=moved,
        )
        for name, timing in timings.items()
    ]


def _attend(
    heads: Heads, precision: Precision, device: torch.device
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Calls of the forward pass alone, and of the forward and backward passes."""
    shape = (heads.B, heads.H, heads.T, heads.D)
    dtype = dtype_of(precision)
    q, k, v = (torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3))
    upstream = torch.randn(shape, device=device, dtype=dtype)

    def forward() -> object:
        with torch.no_grad():
            return F.scaled_dot_product_attention(q, k, v, is_causal=heads.causal)

    def training() -> object:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=heads.causal)
        return torch.autograd.grad(out, (q, k, v), upstream)

    return forward, training
