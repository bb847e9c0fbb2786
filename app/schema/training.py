"""Sections about how a model is trained: optimizer, schedule, trainer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from app.schema.section import Below1, NotNegative, Section, Share


class Optimizer(Section):
    """How weights move."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: PositiveFloat = 5e-5
    """Learning rate at its highest, after warm-up."""
    weight_decay: NotNegative = 0.0
    """Not applied to norms and biases."""
    betas: tuple[Below1, Below1] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    momentum: Share = 0.0
    """For sgd."""


class Schedule(Section):
    """How the learning rate changes over the steps."""

    name: Literal["constant", "linear", "cosine", "exponential", "inverse_sqrt"] = "linear"
    warmup: NotNegative = 0.0
    """Steps of linear warm-up; below 1, a share of all steps."""
    final: Share = 0.0
    """Share of the learning rate left at the end (linear, cosine, exponential)."""


class Trainer(Section):
    """How long, how much at a time, on what."""

    max_epochs: PositiveInt = 1
    max_steps: PositiveInt | None = None
    """Optimizer steps; where set, it ends the training before `max_epochs` does."""
    batch_size: PositiveInt = 32
    """Most examples in a batch."""
    batch_tokens: PositiveInt | None = None
    """Most tokens in a batch, padding included; batches are then made of examples of like length."""
    accumulate: PositiveInt = 1
    """Batches for one optimizer step; weighted by what they hold, so N of B equal one of N x B."""
    clip: PositiveFloat | None = None
    """Largest norm of the gradient."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """auto: bf16 where the hardware multiplies it fast, else fp32."""
    compile: bool = False
    """torch.compile the model."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt | Literal["auto"] = "auto"
    """Devices on this machine; auto is every GPU, or one CPU process."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    nodes: PositiveInt = 1
    eval_every: PositiveInt | None = None
    """Steps between evaluations on dev; unset: once an epoch."""
    eval_batches: PositiveInt | None = None
    """Most batches of one evaluation during training; unset: all of dev, and for language models as many as keep
    evaluations to a small share of the training. The final scores always use all of dev."""
    patience: PositiveInt | None = None
    """Stop after this many evaluations in a row without a better score; unset: never."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; unset is at each evaluation."""
    log_every: PositiveInt = 10
    """Steps between lines in metrics.jsonl."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches; 0 does it in the training process, which is right for encoded text."""
    deterministic: bool = True
    """Only operations that give the same bits each time."""
