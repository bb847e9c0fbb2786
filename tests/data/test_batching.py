"""Batches: every example once, within the budget, the same for the same seed, and resumable at any place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data.batching import Batches, Cut, plan

lengths_of = st.lists(st.integers(1, 60), min_size=1, max_size=200).map(np.array)
cuts = st.builds(
    Cut,
    size=st.integers(1, 40),
    tokens=st.none() | st.integers(1, 300),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
)


@given(lengths_of, cuts, st.integers(0, 3))
def test_every_example_is_in_exactly_one_batch_within_the_budget(lengths: np.ndarray, cut: Cut, epoch: int) -> None:  # type: ignore[type-arg]
    batches = plan(lengths, cut, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(0 < len(batch) <= cut.size for batch in batches)
    if cut.tokens:
        assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= cut.tokens for batch in batches)


@given(lengths_of, cuts)
def test_each_epoch_has_the_same_number_of_batches(lengths: np.ndarray, cut: Cut) -> None:  # type: ignore[type-arg]
    assert len({len(plan(lengths, cut, epoch)) for epoch in range(4)}) == 1


def test_seed_and_epoch_decide_the_order() -> None:
    lengths = np.arange(1, 101) % 17 + 1

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.tolist() for batch in plan(lengths, Cut(8, 64, True, seed), epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_sorting_by_length_leaves_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(3, 60, size=2000)
    padded = sum(len(b) * lengths[b].max() for b in plan(lengths, Cut(32, 1024), 0))
    assert padded / lengths.sum() < 1.02


@pytest.mark.parametrize("start", [0, 1, 7])
def test_a_resumed_epoch_goes_on_where_it_stopped(start: int) -> None:
    lengths = np.arange(1, 101)
    batches = Batches(lengths, Cut(8, 200, True, 3))
    batches.set_epoch(2)
    whole = [b.tolist() for b in batches]
    batches.begin(2, start)
    assert [b.tolist() for b in batches] == whole[start:]


@given(lengths_of, cuts, st.integers(1, 4))
def test_processes_share_each_batch_without_overlap(lengths: np.ndarray, cut: Cut, world: int) -> None:  # type: ignore[type-arg]
    alone = [sorted(batch.tolist()) for batch in Batches(lengths, cut)]
    shared = zip(*(list(Batches(lengths, cut, rank, world)) for rank in range(world)))
    assert [sorted(i for part in parts for i in part.tolist()) for parts in shared] == alone
