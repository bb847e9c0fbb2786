"""The smallest model: y = W x + b."""

from __future__ import annotations

from torch import Tensor, nn


class LinearModel(nn.Module):
    """A linear map. It starts at zero, so that training takes the same path from any seed."""

    def __init__(self, features: int, outputs: int = 1) -> None:
        super().__init__()
        self.map = nn.Linear(features, outputs)
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, outputs)."""
        out: Tensor = self.map(features)
        return out
