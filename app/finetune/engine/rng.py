"""Random number generators and determinism: seeds, states as plain values, and operations that repeat to the bit."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from app.compat import leave_memory_unfilled

States = dict[str, Any]


def seed(value: int) -> None:
    """Seed the generators of Python, numpy and torch, on every device."""
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def make_deterministic(on: bool) -> None:
    """Allow only operations that give the same bits each time, or allow all. A setting of the whole process."""
    torch.use_deterministic_algorithms(on)  # type: ignore[no-untyped-call]
    torch.backends.cudnn.benchmark = False  # it times the algorithms of a convolution and takes another one each time
    if on:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS repeats only with workspaces of a fixed size
    leave_memory_unfilled()


def capture() -> States:
    """Return the states of the generators of torch (this process's device too), numpy and Python, unconverted: this
    runs at every step."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def storable(states: States) -> States:
    """Return the states as tensors and plain values."""
    kind, keys, *rest = states["numpy"]
    return {**states, "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), *rest]}


def restore(states: States) -> None:
    """Put the generators back to the states that `capture` or `storable` returned."""
    torch.set_rng_state(states["torch"])
    for state in states["cuda"]:
        torch.cuda.set_rng_state(state)
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.asarray(keys).astype(np.uint32), *rest))
    random.setstate(states["python"])


@contextmanager
def kept() -> Iterator[None]:
    """Put the generators back at the end of the block: an evaluation must not change the dropout that follows it."""
    states = capture()
    try:
        yield
    finally:
        restore(states)
