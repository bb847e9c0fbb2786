"""Both sides of the comparison on gpt-char train on the same batches, and time every step but the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from benchmarks.gpt_steps import ours, plain

SMALL = ("model.layers=1", "model.width=32", "trainer.batch_size=2", "trainer.accelerator=cpu")


@pytest.mark.parametrize("side", [ours, plain])
def test_each_side_times_its_steps(side: Callable[[Sequence[str], int], list[float]]) -> None:
    seconds = side(SMALL, 4)
    assert len(seconds) == 3 and all(second > 0 for second in seconds)
