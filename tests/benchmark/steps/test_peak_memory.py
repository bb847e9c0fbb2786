"""Peak memory is that of the block, whatever was allocated before."""

from __future__ import annotations

import pytest
import torch

from app.benchmark.steps.peak_memory import PeakMemory


def test_peak_memory_sees_an_allocation() -> None:
    with PeakMemory(torch.device("cpu")) as peak:
        torch.ones(64 << 20, dtype=torch.uint8).add_(1)
    if peak.bytes is None:
        pytest.skip("this kernel does not keep a peak that can be reset")
    assert peak.bytes > 48 << 20
