"""Images of one size with their classes, and their split into train, dev and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from app.data.batch import Batch
from app.data.images.decode import Pixels


@dataclass(frozen=True)
class Images:
    """N images and their classes; a `DataSet`."""

    pixels: Pixels
    """(N, C, side, side), 0 to 255."""
    labels: np.ndarray[Any, np.dtype[np.int64]] | None
    """(N,) indices into `classes`; None if they are unknown."""
    classes: tuple[str, ...]
    digest: str
    """sha256 of what the images were made from."""
    names: tuple[str, ...] = ()
    """File of each image; empty if they do not come from files."""

    @cached_property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.ones(len(self), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        pixels = torch.from_numpy(self.pixels[indices]).float().div_(127.5).sub_(1)  # -1 to 1
        return Batch(
            inputs={"pixels": pixels},
            index=torch.from_numpy(np.ascontiguousarray(indices)),
            labels=None if self.labels is None else torch.from_numpy(self.labels[indices]),
            useful=len(indices),
            padded=len(indices),
        )

    def subset(self, indices: np.ndarray[Any, Any]) -> Images:
        """Return the images at `indices` as a data set with its own digest."""
        assert self.labels is not None
        digest = hashlib.sha256(f"{self.digest}\n{indices.tolist()}".encode()).hexdigest()
        names = tuple(self.names[i] for i in indices) if self.names else ()
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices], digest=digest, names=names)

    def stratified_split(self, shares: Sequence[float], seed: int) -> list[Images]:
        """Return disjoint parts of these shares, then the rest as the last; each part has its share of every class."""
        assert self.labels is not None
        random = np.random.Generator(np.random.PCG64(seed))
        parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
        for label in range(len(self.classes)):
            of_class = random.permutation(np.flatnonzero(self.labels == label))
            cuts = np.round(np.cumsum(shares) * len(of_class)).astype(int)
            for part, indices in zip(parts, np.split(of_class, cuts)):
                part += indices.tolist()
        return [self.subset(np.sort(np.array(part, dtype=np.int64))) for part in parts]
