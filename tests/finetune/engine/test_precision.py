"""A precision is one word, and a word that the hardware would emulate is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from app.errors import ConfigError
from app.finetune.engine.precision import choose

AMX = frozenset({"avx512f", "avx512_bf16", "amx_bf16"})
OLD = frozenset({"avx2"})


@pytest.mark.parametrize(
    ("word", "accelerator", "flags", "capability", "expected"),
    [
        ("auto", "cpu", AMX, (0, 0), "bf16"),
        ("auto", "cpu", frozenset({"avx512_bf16"}), (0, 0), "bf16"),
        ("auto", "cpu", OLD, (0, 0), "fp32"),
        ("auto", "cuda", OLD, (8, 0), "bf16"),
        ("auto", "cuda", AMX, (7, 5), "fp32"),
        ("tf32", "cuda", OLD, (8, 6), "tf32"),
        ("fp16", "cuda", OLD, (7, 0), "fp16"),
        ("fp32", "cpu", OLD, (0, 0), "fp32"),
    ],
)
def test_what_a_word_means_here(word: Any, accelerator: Any, flags: Any, capability: Any, expected: str) -> None:
    assert choose(word, accelerator, flags, capability).word == expected


@pytest.mark.parametrize(
    ("word", "accelerator", "flags", "capability", "reason"),
    [
        ("bf16", "cpu", OLD, (0, 0), "this CPU has neither amx_bf16 nor avx512_bf16"),
        ("bf16", "cuda", AMX, (7, 5), r"compute capability 7\.5"),
        ("tf32", "cpu", AMX, (0, 0), "this CPU has no tf32"),
        ("tf32", "cuda", AMX, (7, 0), "it came with compute capability 8"),
        ("fp16", "cpu", AMX, (0, 0), "on GPUs only"),
    ],
)
def test_what_would_be_slow_is_refused(word: Any, accelerator: Any, flags: Any, capability: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        choose(word, accelerator, flags, capability)


def test_tf32_is_switched_on_and_off() -> None:
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        choose("tf32", "cuda", OLD, (8, 0)).apply()
        assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32
        choose("fp32", "cuda", OLD, (8, 0)).apply()
        assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(before)  # type: ignore[no-untyped-call]
