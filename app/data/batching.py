"""Which examples make which batch: seeded, by length under a token budget, the same on every machine, and resumable.

With a budget the examples are sorted by length, equal lengths in random order, cut into batches, and the batches
shuffled: hardly any padding, and the number of batches depends only on the lengths, so that every epoch has the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from app.data.batch import Batch, DataSet

Indices = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Cut:
    """How to cut a data set into batches."""

    size: int
    """Most examples in a batch."""
    tokens: int | None = None
    """Most tokens in a batch, padding included; an example that is longer goes alone. None: no sorting by length."""
    shuffle: bool = True
    seed: int = 0
    most: int | None = None
    """Most batches of an epoch: if there are more, so many of them, evenly spaced."""


def plan(lengths: np.ndarray[Any, Any], cut: Cut, epoch: int) -> list[Indices]:
    """Batches of one epoch as arrays of indices into `lengths` (N,). Every example is in exactly one."""
    random = np.random.Generator(np.random.PCG64([cut.seed, epoch]))  # its own: dropout must not move the order
    order = random.permutation(len(lengths)) if cut.shuffle else np.arange(len(lengths))
    if cut.tokens is None:
        batches = [order[i : i + cut.size] for i in range(0, len(order), cut.size)]
    else:
        order = order[np.argsort(lengths[order], kind="stable")]
        batches = _cut_sorted(order, lengths[order], cut.size, cut.tokens)
        if cut.shuffle:
            batches = [batches[i] for i in random.permutation(len(batches))]
    if cut.most is not None and cut.most < len(batches):
        batches = [batches[i * len(batches) // cut.most] for i in range(cut.most)]
    return batches


def _cut_sorted(order: Indices, lengths: np.ndarray[Any, Any], size: int, tokens: int) -> list[Indices]:
    """Greedy cut of examples in order of length: the last of a batch is its longest, so it sets the padded size."""
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and stop - start < size and (stop - start + 1) * int(lengths[stop]) <= tokens:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return batches


class Batches(Sampler[Indices]):
    """The batches of one epoch after another, from any position on, for one of `world` processes.

    A process takes every `world`-th example of each batch, so that all of them together see the same batches as one
    alone.
    """

    def __init__(self, lengths: np.ndarray[Any, Any], cut: Cut, rank: int = 0, world: int = 1) -> None:
        self.lengths, self.cut, self.rank, self.world = lengths, cut, rank, world
        self.epoch = 0
        self.start = 0
        """Batches of this epoch that are already done; back to 0 with the next epoch."""
        self._count = len(plan(lengths, cut, 0))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; a new one begins at its first batch. Lightning calls it too."""
        if epoch != self.epoch:
            self.begin(epoch, 0)

    def begin(self, epoch: int, start: int) -> None:
        """Go on in the middle of an epoch, after a resume: at batch `start`."""
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[Indices]:
        for batch in plan(self.lengths, self.cut, self.epoch)[self.start :]:
            yield batch[self.rank :: self.world]

    def __len__(self) -> int:
        return self._count


@dataclass(frozen=True)
class Shared:
    """A data set that several processes read: it also gives the batch of no examples, which is a process's share of
    a batch that is smaller than their number."""

    data: DataSet

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, indices: Indices) -> Batch:
        return self.data[indices] if len(indices) else self.data[np.zeros(1, dtype=np.int64)].emptied()


def loader(data: DataSet, batches: Batches, workers: int, pin: bool) -> DataLoader[Batch]:
    """torch's loader over whole batches: `data` is asked for a batch at once, so nothing is collated one by one."""
    return DataLoader(
        data if batches.world == 1 else Shared(data),  # type: ignore[arg-type]  # a Dataset in torch's sense by shape, not by inheritance
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # torch draws a seed for every pass: from its own, or passes would move dropout
    )
