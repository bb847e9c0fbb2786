"""A small convolutional network for square images of any size, fixed when the model is built, grey or in colour.

    conv 3x3 - ReLU - pool      C_in -> width      side -> side / 2
    conv 3x3 - ReLU - pool      width -> 2 width   side / 2 -> side / 4
    linear - ReLU - dropout     2 width x (side / 4)² -> hidden
    linear                      hidden -> classes

The fully connected layers fit one image size. An adaptive pool would accept any, but its backward pass is not
deterministic on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from app.models.sizes import check_parameters

KERNEL = 3
POOL = 2


@dataclass(frozen=True)
class CNNConfig:
    """Sizes of a CNN."""

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
        """Side of the input of the fully connected layers; each pool halves it and rounds up."""
        return _halved(_halved(self.side))


class CNN(nn.Module):
    """Two convolutions, two fully connected layers. Raises ModelError if it is more than all memory."""

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        parameters = parameter_count(config)
        check_parameters(parameters, 4 * parameters, "take a smaller model.width, model.hidden or data.side")
        self.config = config
        self.first = nn.Conv2d(config.channels, config.width, KERNEL, padding=KERNEL // 2)
        self.second = nn.Conv2d(config.width, 2 * config.width, KERNEL, padding=KERNEL // 2)
        self.hidden = nn.Linear(2 * config.width * config.pooled**2, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.classes = nn.Linear(config.hidden, config.classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, channels, side, side) from -1 to 1 -> logits (B, classes)."""
        x = F.max_pool2d(F.relu(self.first(pixels)), POOL, ceil_mode=True)
        x = F.max_pool2d(F.relu(self.second(x)), POOL, ceil_mode=True)
        x = self.dropout(F.relu(self.hidden(x.flatten(1))))
        logits: Tensor = self.classes(x)
        return logits


def parameter_count(config: CNNConfig) -> int:
    """Return the number of parameters of a model."""
    first = (KERNEL**2 * config.channels + 1) * config.width
    second = (KERNEL**2 * config.width + 1) * 2 * config.width
    hidden = (2 * config.width * config.pooled**2 + 1) * config.hidden
    return first + second + hidden + (config.hidden + 1) * config.classes


def flops_per_image(config: CNNConfig) -> int:
    """Return the floating-point operations of a forward and backward pass for one image.

    6 for each multiply-add of the forward pass: 2 forward and 4 backward. A convolution applies its kernel at each
    pixel. Biases, ReLU and pooling are left out.
    """
    first = KERNEL**2 * config.channels * config.width * config.side**2
    second = KERNEL**2 * config.width * 2 * config.width * _halved(config.side) ** 2
    linear = 2 * config.width * config.pooled**2 * config.hidden + config.hidden * config.classes
    return 6 * (first + second + linear)


def _halved(side: int) -> int:
    return -(-side // POOL)
