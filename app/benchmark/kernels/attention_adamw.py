"""The parts of a training step beside its matrix products, each at a model's own shape: attention and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from app.benchmark.budget import Budget
from app.benchmark.figure import Limit, duration, rate, work
from app.benchmark.kernels.matmul import bytes_of, dtype_of, usable
from app.benchmark.limits import Limits, flop_unit
from app.benchmark.results import Kernel
from app.benchmark.timer import Timing, clock_for, measure
from app.errors import first_line
from app.finetune.engine.adam import BlockedAdamW
from app.hardware.peaks import Precision


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
Size = tuple[int, ...]


def model_like(device: torch.device) -> list[Size]:
    """Shapes of the matrices of a model that is usual on this kind of device."""
    width, blocks = OPTIMIZER_SIZES.get(device.type, OPTIMIZER_SIZES["cpu"])
    return [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)] * blocks


def attention(shapes: Sequence[Heads], limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """`scaled_dot_product_attention`, forward and with its backward, at the shapes of models."""
    device = limits.device
    precisions: list[Precision] = [p for p in ("fp32", "bf16") if not usable(device)[p]]
    clock = clock_for(device, flush=True)
    unit, scale = flop_unit(device)
    kernels: list[Kernel] = []
    for heads in shapes:
        name = f"attention {heads.model}"
        if not budget.allows(name, seconds / len(shapes)):
            continue
        timings: dict[tuple[Precision, bool], Timing] = {}
        with budget.guard(name):
            calls: dict[tuple[Precision, bool], Callable[[], object]] = {}
            for precision in precisions:
                calls[precision, False], calls[precision, True] = _attend(heads, precision, device)
            timings = measure(calls, clock, seconds / len(shapes))
        for (precision, training), timing in timings.items():
            # Backward: dV, dP, dQ, dK are four products to the forward's two; Q, K, V, O, dO are read, three written.
            flops = heads.flops * (3 if training else 1)
            moved = heads.elements * bytes_of(precision) * (12 if training else 4)
            limit = limits.roofline_flops(precision, flops, moved)
            least = Limit(limit.value and 1e3 * flops / scale / limit.value, limit.source)
            kernels.append(
                Kernel(
                    name=f"{name} {precision} {'training' if training else 'forward'}",
                    group="attention",
                    precision=precision,
                    shape=f"B {heads.B}, H {heads.H}, T {heads.T}, D {heads.D}{', causal' if heads.causal else ''}",
                    figures={"rate": rate(flops / scale, unit, timing, limit)},
                    work=work(timing, flops, moved, least),
                )
            )
    return kernels


def optimizer(name: str, sizes: Sequence[Size], limits: Limits, budget: Budget, seconds: float) -> list[Kernel]:
    """One AdamW step over parameters of these sizes, in each implementation that there is for the device; the package's
    own, which goes over a CPU's parameters in blocks, is `blocked`."""
    name, device = f"optimizer {name}", limits.device
    if not budget.allows(name, seconds):
        return []
    calls: dict[str, Callable[[], object]] = {}
    for kind in ("foreach", "fused", "for-loop", *(("blocked",) if device.type == "cpu" else ())):
        try:
            calls[kind] = _adamw(kind, sizes, device)
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
            work=work(timing, ADAMW_FLOPS * count, moved, limit),
        )
        for kind, timing in timings.items()
    ]


def _adamw(kind: str, sizes: Sequence[Size], device: torch.device) -> Callable[[], object]:
    """A step of one implementation, already made once: that makes the moments. Raises RuntimeError where torch has none
    for the device, or no memory."""
    parameters = [torch.nn.Parameter(torch.randn(size, device=device)) for size in sizes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    if kind == "blocked":
        made: torch.optim.Optimizer = BlockedAdamW(parameters, lr=1e-4)
    else:
        made = torch.optim.AdamW(parameters, lr=1e-4, foreach=kind == "foreach", fused=kind == "fused")
    made.step()
    return made.step


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
