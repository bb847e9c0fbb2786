"""Precision and accelerator of a recipe: what each word means to Lightning, and when it is refused as slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from app.errors import ConfigError, Problem
from app.hardware.cpu import BF16_FLAGS, bf16_instructions, cpu_flags
from app.schema import Recipe

Word = Literal["auto", "fp32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """A precision that this hardware runs fast."""

    word: Literal["fp32", "tf32", "bf16", "fp16"]

    @property
    def lightning(self) -> str:
        """Lightning's word: weights stay in float32, the multiplications take the short type."""
        return {"bf16": "bf16-mixed", "fp16": "16-mixed"}.get(self.word, "32-true")

    def apply(self) -> None:
        """Allow or forbid TF32 in float32 matrix products and convolutions on a GPU, for the whole process."""
        word = "high" if self.word == "tf32" else "highest"
        torch.set_float32_matmul_precision(word)  # type: ignore[no-untyped-call]
        torch.backends.cudnn.allow_tf32 = self.word == "tf32"  # torch's default is True, independent of the line above


def choose(
    word: Word, accelerator: Literal["cpu", "cuda"], cpu_flags: frozenset[str], capability: tuple[int, int]
) -> Precision:
    """Return the precision that a word means on this hardware. `capability`: of the GPU, for cuda only.

    Raises ConfigError for a precision that the hardware would emulate.
    """
    fast_bf16 = capability >= (8, 0) if accelerator == "cuda" else bf16_instructions(cpu_flags) is not None
    fast_tf32 = accelerator == "cuda" and capability >= (8, 0)
    if word == "auto":
        return Precision("bf16" if fast_bf16 else "fp32")
    name = f"this GPU (compute capability {capability[0]}.{capability[1]})" if accelerator == "cuda" else "this CPU"
    if word == "bf16" and not fast_bf16:
        lacks = (
            "has none of the instructions for bf16"
            if accelerator == "cuda"
            else f"has neither {' nor '.join(BF16_FLAGS)}"
        )
        raise ConfigError(
            Problem(f"trainer.precision: bf16 would be slower than fp32: {name} {lacks}", "say trainer.precision=auto")
        )
    if word == "tf32" and not fast_tf32:
        raise ConfigError(
            Problem(
                f"trainer.precision: {name} has no tf32: it came with compute capability 8.0",
                "say trainer.precision=auto",
            )
        )
    if word == "fp16" and accelerator == "cpu":
        raise ConfigError(Problem("trainer.precision: torch trains in fp16 on GPUs only", "say trainer.precision=auto"))
    return Precision(word)


def accelerator_of(recipe: Recipe) -> Literal["cpu", "cuda"]:
    """Return what a recipe runs on here. Raises ConfigError if it asks for a GPU and there is none."""
    asked = recipe.trainer.accelerator
    if asked == "gpu" and not torch.cuda.is_available():
        what = "trainer.accelerator: gpu, but torch sees no GPU"
        raise ConfigError(Problem(what, "say trainer.accelerator=auto, or see `app doctor`"))
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def precision_of(recipe: Recipe) -> Precision:
    """Return a recipe's precision on this machine. Raises ConfigError if the hardware would emulate it."""
    accelerator = accelerator_of(recipe)
    capability = torch.cuda.get_device_capability() if accelerator == "cuda" else (0, 0)
    return choose(recipe.trainer.precision, accelerator, cpu_flags(), capability)
