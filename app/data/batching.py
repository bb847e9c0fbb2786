"""Which examples make which batch: seeded, by length under a token budget, the same on every machine, and resumable.

With a budget, the examples are sorted by length (equal lengths in random order), cut into batches, and the batches
are shuffled. That leaves hardly any padding, and the number of batches depends only on the lengths, so every epoch has
the same number.
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
class BatchSpec:
    """How to cut a data set into batches."""

    size: int
    """Most examples in a batch."""
    tokens: int | None = None
    """Most tokens in a batch, padding included; a longer example is a batch alone. None: no sorting by length."""
    shuffle: bool = True
    seed: int = 0
    most: int | None = None
    """Most batches of an epoch; if there are more, this many of them are taken, evenly spaced."""


def epoch_batches(lengths: np.ndarray[Any, Any], spec: BatchSpec, epoch: int) -> list[Indices]:
    """Return the batches of one epoch as arrays of indices into `lengths` (N,).

    Every example is in exactly one, unless `spec.most` leaves batches out.
    """
    random = np.random.Generator(np.random.PCG64([spec.seed, epoch]))  # separate: dropout must not change the order
    order = random.permutation(len(lengths)) if spec.shuffle else np.arange(len(lengths))
    if spec.tokens is None:
        batches = [order[i : i + spec.size] for i in range(0, len(order), spec.size)]
    else:
        order = order[np.argsort(lengths[order], kind="stable")]
        batches = _cut_sorted(order, lengths[order], spec.size, spec.tokens)
        if spec.shuffle:
            batches = [batches[i] for i in random.permutation(len(batches))]
    if spec.most is not None and spec.most < len(batches):
        batches = [batches[i * len(batches) // spec.most] for i in range(spec.most)]
    return batches


def _cut_sorted(order: Indices, lengths: np.ndarray[Any, Any], size: int, tokens: int) -> list[Indices]:
    """Cut examples sorted by length greedily: the last of a batch is its longest, so it sets the padded size."""
    batches, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and stop - start < size and (stop - start + 1) * int(lengths[stop]) <= tokens:
            stop += 1
        batches.append(order[start:stop])
        start = stop
    return batches


class BatchSampler(Sampler[Indices]):
    """The batches of one epoch, from any batch on, for one of `world` processes.

    Process `rank` takes every `world`-th example of each batch, so that together the processes see the same batches as
    a single one would.
    """

    def __init__(self, lengths: np.ndarray[Any, Any], spec: BatchSpec, rank: int = 0, world: int = 1) -> None:
        self.lengths, self.spec, self.rank, self.world = lengths, spec, rank, world
        self.epoch = 0
        self.start = 0
        """Batches of this epoch that are already done."""
        self._count = len(epoch_batches(lengths, spec, 0))

    def begin(self, epoch: int, start: int = 0) -> None:
        """Go to an epoch; after a resume, to its batch `start`."""
        self.epoch, self.start = epoch, start

    def __iter__(self) -> Iterator[Indices]:
        for batch in epoch_batches(self.lengths, self.spec, self.epoch)[self.start :]:
            yield batch[self.rank :: self.world]

    def __len__(self) -> int:
        return self._count


@dataclass(frozen=True)
class ShardedDataset:
    """A data set that several processes read. An index array may be empty: a process's share of a batch that has
    fewer examples than there are processes."""

    data: DataSet

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, indices: Indices) -> Batch:
        return self.data[indices] if len(indices) else self.data[np.zeros(1, dtype=np.int64)].empty()


def loader(data: DataSet, sampler: BatchSampler, workers: int, pin: bool) -> DataLoader[Batch]:
    """Return torch's DataLoader over whole batches: `data` is indexed once a batch, so there is nothing to collate."""
    return DataLoader(
        data if sampler.world == 1 else ShardedDataset(data),  # type: ignore[arg-type]  # torch's Dataset by shape, not by inheritance
        sampler=sampler,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # the loader draws a seed each pass; from the global generator, that moves dropout
    )
