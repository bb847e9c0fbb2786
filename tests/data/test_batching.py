"""Batches hold every example once, fit the budget, are the same for the same seed, and resume at any batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data.batching import BatchSampler, BatchSpec, epoch_batches

Lengths = np.ndarray[Any, Any]
lengths_of = st.lists(st.integers(1, 60), min_size=1, max_size=200).map(np.array)
specs = st.builds(
    BatchSpec,
    size=st.integers(1, 40),
    tokens=st.none() | st.integers(1, 300),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
)


@given(lengths_of, specs, st.integers(0, 3))
def test_every_example_is_in_exactly_one_batch_within_the_budget(lengths: Lengths, spec: BatchSpec, epoch: int) -> None:
    batches = epoch_batches(lengths, spec, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(0 < len(batch) <= spec.size for batch in batches)
    if spec.tokens:
        assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= spec.tokens for batch in batches)


@given(lengths_of, specs)
def test_each_epoch_has_the_same_number_of_batches(lengths: Lengths, spec: BatchSpec) -> None:
    assert len({len(epoch_batches(lengths, spec, epoch)) for epoch in range(4)}) == 1


def test_the_order_depends_on_seed_and_epoch() -> None:
    lengths = np.arange(1, 101) % 17 + 1

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in epoch_batches(lengths, BatchSpec(8, 64, True, seed), epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_sorting_by_length_leaves_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=2000)
    padded = sum(len(b) * lengths[b].max() for b in epoch_batches(lengths, BatchSpec(32, 1024), 0))
    assert padded / lengths.sum() < 1.02


@pytest.mark.parametrize("start", [0, 1, 7])
def test_a_resumed_epoch_continues_at_its_batch(start: int) -> None:
    lengths = np.arange(1, 101)
    sampler = BatchSampler(lengths, BatchSpec(8, 200, True, 3))
    sampler.begin(2)
    whole = [b.tolist() for b in sampler]
    sampler.begin(2, start)
    assert [b.tolist() for b in sampler] == whole[start:]


@given(lengths_of, specs, st.integers(1, 4))
def test_processes_share_each_batch_without_overlap(lengths: Lengths, spec: BatchSpec, world: int) -> None:
    alone = [sorted(batch.tolist()) for batch in BatchSampler(lengths, spec)]
    shared = zip(*(list(BatchSampler(lengths, spec, rank, world)) for rank in range(world)))
    assert [sorted(i for part in parts for i in part.tolist()) for parts in shared] == alone
