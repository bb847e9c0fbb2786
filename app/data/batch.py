"""A batch of examples, and what a data set offers so that batches can be taken from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

IGNORE_INDEX = -100  # label of a position that no loss counts; PyTorch's own default for `ignore_index`


@dataclass  # not frozen: Lightning Fabric sets the fields of a copy to convert their precision
class Batch:
    """Examples that go through the model together. B examples."""

    inputs: dict[str, Tensor]
    """The model's keyword arguments, each of B rows."""
    index: Tensor
    """(B,) position of each example in its data set."""
    labels: Tensor | None = None
    """(B, ...) the targets; None for `predict`."""
    useful: int = 0
    """Tokens (or pixels, points) that are not padding."""
    padded: int = 0
    """Tokens (or pixels, points) with padding included."""
    counted: int = 0
    """Labels that a loss over tokens sums over, if they are fewer than the tokens; else 0."""

    def to(self, device: torch.device, **options: Any) -> Batch:
        """Return the batch on a device.

        Copies to a GPU are asynchronous: a blocking copy would wait for the previous step, at every step.
        """
        options.setdefault("non_blocking", device.type == "cuda")
        return self._each(lambda tensor: tensor.to(device, **options))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory; torch's DataLoader calls this."""
        return self._each(lambda tensor: tensor.pin_memory())

    def empty(self) -> Batch:
        """Return a batch with the same tensors of 0 rows."""
        return replace(self._each(lambda tensor: tensor[:0]), useful=0, padded=0, counted=0)

    def __len__(self) -> int:
        return len(self.index)

    def _each(self, change: Any) -> Batch:
        labels = None if self.labels is None else change(self.labels)
        inputs = {name: change(tensor) for name, tensor in self.inputs.items()}
        return replace(self, inputs=inputs, labels=labels, index=change(self.index))


class DataSet(Protocol):
    """N examples, read a batch at a time."""

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """(N,) tokens of each example; ones if examples have no length."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of what the examples were made from."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        """Return the batch of these examples."""
        ...
