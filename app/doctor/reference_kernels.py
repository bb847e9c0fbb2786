"""Small computations on a device, each timed and compared with the same in float64 on the CPU.

An error is the largest difference from the reference, relative to the reference's largest entry. A tolerance is about
ten times the rounding error of the format at these sizes; a wrong kernel is off by orders of magnitude.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Out = TypeVar("Out")


@dataclass(frozen=True)
class KernelRun:
    """An error and its tolerance; the seconds of the first run, which loads and compiles, and of the second."""

    error: float
    tolerance: float
    first: float
    again: float
    note: str = ""


def time_twice(work: Callable[[], Out], device: str) -> tuple[Out, float, float]:
    """Run `work` twice; return its last result and the seconds of each run, until the device is done."""
    import torch

    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        result = work()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return result, seconds[0], seconds[1]


def difference(got: torch.Tensor, want: torch.Tensor) -> float:
    """Return max |got - want| / max |want|, in float64 on the CPU; infinity if `got` is not finite."""
    got = got.detach().cpu().double()
    if not bool(got.isfinite().all()):
        return float("inf")
    return float((got - want).abs().max() / want.abs().max())


def _randn(*shape: int, seed: int) -> torch.Tensor:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def convolution(device: str) -> KernelRun:
    """Run a 3x3 convolution of 16 to 32 channels on (8, 16, 32, 32). cuDNN may use TF32 (10-bit mantissa)."""
    from torch.nn.functional import conv2d

    x, w = _randn(8, 16, 32, 32, seed=1), _randn(32, 16, 3, 3, seed=2)
    there = x.to(device), w.to(device)
    got, first, again = time_twice(lambda: conv2d(*there), device)
    return KernelRun(difference(got, conv2d(x.double(), w.double())), 5e-3, first, again)


def autocast(device: str) -> KernelRun:
    """Run a linear layer of width 256 under autocast: bfloat16 (7-bit mantissa), or float16 on a GPU without it."""
    import torch

    kind = torch.device(device).type
    dtype = torch.bfloat16 if kind == "cpu" or torch.cuda.is_bf16_supported() else torch.float16  # type: ignore[no-untyped-call]
    x, w = _randn(64, 256, seed=3), _randn(256, 256, seed=4)
    there = x.to(device), w.to(device)

    def work() -> torch.Tensor:
        with torch.amp.autocast_mode.autocast(kind, dtype=dtype):
            return torch.nn.functional.linear(*there)

    got, first, again = time_twice(work, device)
    if got.dtype != dtype:
        raise RuntimeError(f"autocast to {dtype} gave {got.dtype}")
    note = str(dtype).replace("torch.", "")
    return KernelRun(difference(got, x.double() @ w.double().T), 3e-2, first, again, note)


def _loss(x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = x.mm(w1).tanh().mm(w2).square().mean()
    return loss


def backward(device: str) -> KernelRun:
    """Compute the gradient of a two-layer perceptron's loss, width 128, with respect to its first weights."""
    import torch

    x, w1, w2 = _randn(64, 128, seed=5), _randn(128, 128, seed=6), _randn(128, 8, seed=7)

    def gradient(*tensors: torch.Tensor) -> torch.Tensor:
        x, w1, w2 = (t.detach() for t in tensors)
        w1.requires_grad_()
        found: tuple[torch.Tensor, ...] = torch.autograd.grad(_loss(x, w1, w2), w1)
        return found[0]

    there = [t.to(device) for t in (x, w1, w2)]
    got, first, again = time_twice(lambda: gradient(*there), device)
    return KernelRun(difference(got, gradient(x.double(), w1.double(), w2.double())), 5e-3, first, again)


def optimizer(device: str) -> KernelRun:
    """Run one AdamW step; the reference is the formula of Loshchilov and Hutter (2019) in float64."""
    import torch

    rate, decay, beta1, beta2, eps = 1e-2, 0.1, 0.9, 0.999, 1e-8
    start, slope = _randn(256, 64, seed=8), _randn(256, 64, seed=9)

    def step() -> torch.Tensor:
        weight = torch.nn.Parameter(start.to(device, copy=True))
        weight.grad = slope.to(device)
        torch.optim.AdamW([weight], lr=rate, weight_decay=decay, betas=(beta1, beta2), eps=eps).step()
        return weight

    got, first, again = time_twice(step, device)
    g, w = slope.double(), start.double()
    # After one step the bias-corrected averages are the gradient and its square themselves.
    want = w.mul(1 - rate * decay) - g.div(g.abs() + eps).mul(rate)
    return KernelRun(difference(got, want), 1e-5, first, again)


def compiled(device: str) -> KernelRun:
    """Compile one fused elementwise kernel with torch.compile and run it on 4096 numbers."""
    import torch

    def formula(x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x.square().addcmul(x.sin(), x.sigmoid())
        return y

    x = _randn(4096, seed=10)
    there = x.to(device)
    kernel = torch.compile(formula, fullgraph=True)
    got, first, again = time_twice(lambda: kernel(there), device)
    return KernelRun(difference(got, formula(x.double())), 1e-5, first, again)


REFERENCE_KERNELS: dict[str, Callable[[str], KernelRun]] = {
    "convolution": convolution,
    "autocast": autocast,
    "backward": backward,
    "optimizer": optimizer,
    "compile": compiled,
}
