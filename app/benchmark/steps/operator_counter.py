"""Count what a training step asks of the machine: its operators, the bytes they move and their FLOPs.

with OperatorCounter() as counter:
    step()
counter.bytes, counter.flops, counter.operators
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

_library: Any = torch  # its operators carry no types
aten = _library.ops.aten


class OperatorCounter(TorchDispatchMode):
    """A context manager that counts the operators of its block, backward passes included.

    `bytes`: inputs and outputs of every operator that touches memory, each once; `product_bytes`: those of products.
    `flops`: of matrix products, convolutions and attention. Other operators are bound by their bytes.
    `operators`: all that are dispatched, views included, because each costs the host time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.product_bytes = self.flops = 0.0
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operators += 1
        inputs, outputs = tensors((args, kwargs or {})), tensors(out)
        moved = _bytes_moved(func.overloadpacket, args, inputs, outputs)
        self.bytes += moved
        counted = _FLOPS.get(func.overloadpacket)
        if counted is not None:
            self.flops += counted(inputs, outputs)
            self.product_bytes += moved
        return out


def tensors(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in nested arguments, in order."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def _bytes_moved(operator: Any, args: Any, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> float:
    """Return the bytes that one operator reads and writes."""
    if not outputs:  # in-place over a list of tensors: the first argument is read and written
        return _size(inputs) + _size(tensors(args[:1]))
    if operator in _ALLOCATE or any(_is_view(out, value) for out in outputs for value in inputs):
        return 0.0
    if operator is aten.embedding:  # reads the rows that it returns, not the whole table
        return 2 * _size(outputs) + _size(inputs[1:])
    return _size(inputs) + _size(outputs)


def _size(values: Sequence[torch.Tensor]) -> float:
    return float(sum(value.numel() * value.element_size() for value in values))


def _is_view(out: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether `out` is a view of `value`. An in-place operator returns the same tensor, which is no view."""
    return out is not value and bool(out.untyped_storage().data_ptr() == value.untyped_storage().data_ptr())


_ALLOCATE = (aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided)

Count = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], float]


def _product(a: int, b: int) -> Count:
    """Return a count of 2 M N K FLOPs for (..., M, K) @ (..., K, N), the inputs number `a` and `b`."""

    def count(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> float:
        return float(2 * inputs[a].numel() * inputs[b].shape[-1])

    return count


def _convolution(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> float:
    """Return 2 FLOPs for each output element and each weight of its filter: (out, in, *window)."""
    return float(2 * outputs[0].numel() * math.prod(inputs[1].shape[1:]))


def _convolution_backward(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> float:
    """Return as many FLOPs as the forward pass for each gradient that is asked for: the input's and the filters'."""
    upstream, weight = inputs[0], inputs[2]
    each = float(2 * upstream.numel() * math.prod(weight.shape[1:]))
    return float(each * sum(gradient.ndim > 1 for gradient in outputs))


def _attention(q: int, k: int, products: int) -> Count:
    """Return a count of 2 B H T S D FLOPs for each of `products` products of (B, H, T, D) and (B, H, S, D).

    Causal attention is counted in full.
    """

    def count(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> float:
        return float(2 * products * inputs[q].numel() * inputs[k].shape[-2])

    return count


_FLOPS: Mapping[Any, Count] = {
    aten.mm: _product(0, 1),
    aten.addmm: _product(1, 2),
    aten.bmm: _product(0, 1),
    aten.baddbmm: _product(1, 2),
    aten.convolution: _convolution,
    aten.convolution_backward: _convolution_backward,
    # 2 products forward, 4 backward. Fused kernels also recompute the first to save memory, which is not counted.
    **{
        getattr(aten, name): _attention(0 if products == 2 else 1, 1 if products == 2 else 2, products)
        for name, products in {
            "_scaled_dot_product_flash_attention": 2,
            "_scaled_dot_product_efficient_attention": 2,
            "_scaled_dot_product_cudnn_attention": 2,
            "_scaled_dot_product_flash_attention_for_cpu": 2,
            "_scaled_dot_product_flash_attention_backward": 4,
            "_scaled_dot_product_efficient_attention_backward": 4,
            "_scaled_dot_product_cudnn_attention_backward": 4,
            "_scaled_dot_product_flash_attention_for_cpu_backward": 4,
        }.items()
        if hasattr(aten, name)
    },
}
