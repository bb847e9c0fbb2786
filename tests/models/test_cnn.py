"""The convolutional network: any image size, and its FLOPs."""

from __future__ import annotations

import pytest
import torch

from app.models.cnn import CNN, CNNConfig, flops_per_image


@pytest.mark.parametrize("side", [1, 2, 3, 8, 17, 28])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_pass_forward_and_backward(side: int, channels: int) -> None:
    model = CNN(CNNConfig(channels, side, classes=5, width=4, hidden=6))
    logits = model(torch.randn(2, channels, side, side))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_flops_are_those_counted_by_hand() -> None:
    config = CNNConfig(channels=1, side=8, classes=10, width=2, hidden=3)
    first, second = 9 * 1 * 2 * 64, 9 * 2 * 4 * 16
    assert flops_per_image(config) == 6 * (first + second + 4 * 4 * 3 + 3 * 10)
