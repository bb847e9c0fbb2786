"""The FLOPs and bytes of a step are those computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.benchmark.steps.operator_counter import OperatorCounter


def count(call: Callable[[], object]) -> OperatorCounter:
    counter = OperatorCounter()
    with counter:
        call()
    return counter


def test_a_matrix_product() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    counted = count(lambda: a @ b)
    assert counted.flops == 2 * 3 * 5 * 7
    assert counted.bytes == counted.product_bytes == 4 * (15 + 35 + 21)
    assert counted.operators == 1


def test_forward_and_backward_of_a_linear_layer_are_six_flops_a_weight() -> None:
    layer, x = nn.Linear(16, 8, bias=False), torch.ones(4, 16, requires_grad=True)
    counted = count(lambda: layer(x).sum().backward())
    assert counted.flops == 6 * 4 * 16 * 8


def test_batched_products() -> None:
    a, b = torch.ones(2, 3, 5), torch.ones(2, 5, 7)
    assert count(lambda: torch.bmm(a, b)).flops == 2 * 2 * 3 * 5 * 7


def test_a_convolution_and_its_backward() -> None:
    layer, x = nn.Conv2d(3, 8, 5, padding=2, bias=False), torch.ones(2, 3, 12, 12, requires_grad=True)
    forward = 2 * (2 * 8 * 12 * 12) * (3 * 5 * 5)
    assert count(lambda: layer(x)).flops == forward
    assert count(lambda: layer(x).sum().backward()).flops == 3 * forward


def test_attention_is_two_products_fused_or_not() -> None:
    q, k, v = (torch.ones(2, 4, 16, 8) for _ in range(3))
    assert count(lambda: F.scaled_dot_product_attention(q, k, v)).flops == 4 * 2 * 4 * 16 * 16 * 8


def test_views_move_nothing() -> None:
    x = torch.ones(4, 6)
    counted = count(lambda: x.t().reshape(2, 12)[0])
    copied = 4 * 24 * 2  # reshape of a transposed tensor has to copy it: read and written
    assert counted.bytes == copied
    assert count(lambda: x.view(24).detach()).bytes == 0


def test_an_in_place_operator_reads_and_writes() -> None:
    x, y = torch.ones(10), torch.ones(10)
    assert count(lambda: x.add_(y)).bytes == 4 * 30


def test_an_in_place_operator_over_lists_reads_and_writes() -> None:
    lists = [torch.ones(10), torch.ones(6)]
    assert count(lambda: torch._foreach_mul_(lists, 2.0)).bytes == 4 * 16 * 2


def test_an_embedding_reads_its_rows_and_not_its_whole_table() -> None:
    table, ids = nn.Embedding(1000, 8).weight.detach(), torch.zeros(5, dtype=torch.int64)
    assert count(lambda: F.embedding(ids, table)).bytes == 2 * 5 * 8 * 4 + 5 * 8


@pytest.mark.parametrize("width", [8, 32])
def test_a_step_of_a_transformer_layer_is_six_flops_a_weight_and_the_attention(width: int) -> None:
    layer = nn.TransformerEncoderLayer(width, 2, 4 * width, dropout=0.0, batch_first=True)
    B, T = 3, 10
    x = torch.ones(B, T, width, requires_grad=True)
    matrices = sum(p.numel() for p in layer.parameters() if p.ndim == 2)
    counted = count(lambda: layer(x).sum().backward())
    assert counted.flops == pytest.approx(6 * matrices * B * T + 3 * 4 * B * T * T * width)
