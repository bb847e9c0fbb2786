"""The random number generators that a training draws from: their state as plain values, out and in again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

States = dict[str, Any]


def capture() -> States:
    """States of the generators of torch (this process's device too), numpy and Python, as they give them: this is done
    at every step."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def storable(states: States) -> States:
    """The same in tensors and plain values."""
    kind, keys, *rest = states["numpy"]
    return {**states, "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *rest]}


def restore(states: States) -> None:
    """Put the generators back to where `capture` found them. Takes either form."""
    torch.set_rng_state(states["torch"])
    for state in states["cuda"]:
        torch.cuda.set_rng_state(state)
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.asarray(keys).astype(np.uint32), *rest))
    random.setstate(states["python"])


@contextmanager
def kept() -> Iterator[None]:
    """Whatever the block draws, the generators are afterwards where they were: an evaluation must not move dropout."""
    states = capture()
    try:
        yield
    finally:
        restore(states)
