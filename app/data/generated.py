"""Points drawn from a known law, for the first recipes: what they learn can be compared with the right answer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.data.batch import Batch
from app.errors import DataError
from app.hardware.memory import no_room


@dataclass(frozen=True)
class Points:
    """N points of F features with a target each; a `DataSet`."""

    features: Tensor
    """(N, F)"""
    targets: Tensor
    """(N, 1)"""

    @property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.ones(len(self), dtype=np.int64)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.features.numpy().tobytes() + self.targets.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        rows = torch.from_numpy(np.ascontiguousarray(indices))
        return Batch({"features": self.features[rows]}, rows, self.targets[rows], useful=len(rows), padded=len(rows))


@dataclass(frozen=True)
class Line:
    """The law y = w x + b that points are drawn from."""

    weight: Tensor
    """(F,)"""
    bias: float


def linear_law(features: int, seed: int) -> Line:
    """Return a law with weights and bias drawn from a standard normal distribution."""
    random = torch.Generator().manual_seed(seed)
    return Line(torch.randn(features, generator=random), float(torch.randn((), generator=random)))


def points_on(line: Line, examples: int, noise: float, seed: int) -> Points:
    """Return points with standard normal features and targets on the line, plus normal noise of std `noise`."""
    check_room(examples, len(line.weight))
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(examples, len(line.weight), generator=random)
    targets = features @ line.weight + line.bias + noise * torch.randn(examples, generator=random)
    return Points(features, targets[:, None])


def two_clusters(middle: Tensor, examples: int, seed: int) -> Points:
    """Return points around `middle` (F,) with target 1 and around `-middle` with target 0, on average half each.

    Both clusters are normal with a standard deviation of 1 in every direction.
    """
    check_room(examples, len(middle))
    random = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (examples, 1), generator=random).float()
    spread = torch.randn(examples, len(middle), generator=random)
    return Points(spread + (2 * targets - 1) * middle, targets)


def check_room(examples: int, features: int) -> None:
    """Raise DataError if three sets of so many points, train, dev and test, are more than all memory."""
    what, fix = f"data.examples={examples} with data.features={features}", "take fewer"
    if problem := no_room(what, 3 * 4 * examples * features, fix):
        raise DataError(problem)
