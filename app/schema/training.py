"""The sections about training: `optimizer`, `schedule`, `trainer`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from app.schema.section import BelowOne, Fraction, NonNegative, Section


class Optimizer(Section):
    """How the weights are updated."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0.0, le=1e30)] = 5e-5
    """Highest learning rate, reached after warm-up."""
    weight_decay: NonNegative = 0.0
    """Not applied to norms and biases."""
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    momentum: Fraction = 0.0
    """For sgd."""


class Schedule(Section):
    """How the learning rate changes over the steps."""

    name: Literal["constant", "linear", "cosine", "exponential", "inverse_sqrt"] = "linear"
    warmup: NonNegative = 0.0
    """Steps of linear warm-up; below 1: a fraction of all steps."""
    final: Fraction = 0.0
    """Fraction of `lr` left at the end (linear, cosine, exponential)."""


class Trainer(Section):
    """How long to train, in which batches, and on which devices."""

    max_epochs: PositiveInt = 1
    max_steps: PositiveInt | None = None
    """Optimizer steps; if set, training ends at whichever of this and `max_epochs` comes first."""
    batch_size: PositiveInt = 32
    """Most examples in a batch."""
    batch_tokens: PositiveInt | None = None
    """Most tokens in a batch, padding included; batches then hold examples of similar length."""
    accumulate: PositiveInt = 1
    """Batches for one optimizer step, weighted by their examples or tokens: N batches of size B equal one of N x B."""
    clip: PositiveFloat | None = None
    """Largest norm of the gradient."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """auto: bf16 if the hardware multiplies it fast, else fp32."""
    compile: bool = False
    """torch.compile the model."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt | Literal["auto"] = "auto"
    """Devices on this machine; auto: every GPU, or one CPU process."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    nodes: PositiveInt = 1
    eval_every: PositiveInt | None = None
    """Steps between evaluations on dev; unset: once an epoch."""
    eval_batches: PositiveInt | None = None
    """Most batches of dev in one evaluation during training, evenly spaced over dev; unset: all of dev, and for
    language models as many as take a tenth of the training time."""
    patience: PositiveInt | None = None
    """Stop after this many evaluations in a row without a better score; unset: never."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; unset: at each evaluation."""
    log_every: PositiveInt = 10
    """Steps between lines in metrics.jsonl."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches; 0: the training process does it, which is best for encoded text."""
    deterministic: bool = True
    """Use only operations that give the same bits every time."""
