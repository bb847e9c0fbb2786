"""What goes through a training step: a batch, and the data set it is cut from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass  # not frozen: Lightning's FSDP converts a copy of it in place
class Batch:
    """Examples that go through the model together. B examples."""

    inputs: dict[str, Tensor]
    """The model's keyword arguments, each of B rows."""
    index: Tensor
    """(B,) place of each example in its data set."""
    labels: Tensor | None = None
    """(B, ...) what is to be predicted; None in predict."""
    useful: int = 0
    """Tokens (or pixels, points) that are not padding."""
    padded: int = 0
    """The same with padding."""
    counted: int = 0
    """Labels that a loss over tokens sums over, where they are fewer than the tokens."""

    def to(self, device: torch.device, **options: Any) -> Batch:
        """The batch on a device; Lightning calls it. To a GPU it goes behind what that has still to do: waiting for the
        copy would be waiting for the step before, at every step."""
        options.setdefault("non_blocking", device.type == "cuda")
        return self._each(lambda tensor: tensor.to(device, **options))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; torch's loader calls it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def emptied(self) -> Batch:
        """The same with no examples."""
        return replace(self._each(lambda tensor: tensor[:0]), useful=0, padded=0, counted=0)

    def __len__(self) -> int:
        return len(self.index)

    def _each(self, change: Any) -> Batch:
        labels = None if self.labels is None else change(self.labels)
        inputs = {name: change(tensor) for name, tensor in self.inputs.items()}
        return replace(self, inputs=inputs, labels=labels, index=change(self.index))


class DataSet(Protocol):
    """Examples that can be cut into batches."""

    @property
    def lengths(self) -> np.ndarray[Any, Any]:
        """(N,) tokens of each example; ones where an example has no length."""
        ...

    @property
    def digest(self) -> str:
        """sha256 of what the examples were made from."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        """The batch of these examples."""
        ...
