"""A small convolutional network for images of one known size, of any number of pixels and colours.

    conv 3x3 - ReLU - pool      C_in -> width      side -> side / 2
    conv 3x3 - ReLU - pool      width -> 2 width   side / 2 -> side / 4
    linear - ReLU - dropout     2 width x (side / 4)² -> hidden
    linear                      hidden -> classes

The fully connected layers are made for the size; an adaptive pool would take any, but its backward is not deterministic
on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 3
POOL = 2


@dataclass(frozen=True)
class CNNConfig:
    """Sizes of a network."""

    channels: int
    """1 for grey, 3 for colour."""
    side: int
    """Images are side x side pixels."""
    classes: int
    width: int = 32
    hidden: int = 128
    dropout: float = 0.0

    @property
    def pooled(self) -> int:
        """Side of what the fully connected layers see: an odd side is rounded up by each pool."""
        return _halved(_halved(self.side))


class CNN(nn.Module):
    """Two convolutions, two fully connected layers."""

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Conv2d(config.channels, config.width, KERNEL, padding=KERNEL // 2)
        self.second = nn.Conv2d(config.width, 2 * config.width, KERNEL, padding=KERNEL // 2)
        self.hidden = nn.Linear(2 * config.width * config.pooled**2, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(config.hidden, config.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, channels, side, side) around 0 -> logits (B, classes)."""
        x = F.max_pool2d(F.relu(self.first(pixels)), POOL, ceil_mode=True)
        x = F.max_pool2d(F.relu(self.second(x)), POOL, ceil_mode=True)
        x = self.dropout(F.relu(self.hidden(x.flatten(1))))
        logits: Tensor = self.classes(x)
        return logits


def flops_per_image(config: CNNConfig) -> int:
    """Floating-point operations of one forward and backward pass an image.

    6 for each multiply-add of the forward pass: 2 there, 4 backward; a convolution does its kernel at each pixel.
    """
    first = KERNEL**2 * config.channels * config.width * config.side**2
    second = KERNEL**2 * config.width * 2 * config.width * _halved(config.side) ** 2
    linear = 2 * config.width * config.pooled**2 * config.hidden + config.hidden * config.classes
    return 6 * (first + second + linear)


def _halved(side: int) -> int:
    return -(-side // POOL)
