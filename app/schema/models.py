"""Sections about models, one class for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from app.schema.section import Section, Share


class Linear(Section):
    """A linear map with a bias."""

    kind: Literal["linear"] = "linear"


class Freeze(Section):
    """What of a model is not trained."""

    names: tuple[str, ...] = ()
    """Names of parameters or modules; `*` stands for anything."""
    layers: Annotated[int, Field(ge=0)] = 0
    """The embeddings and this many of the lowest layers."""
    gradual: PositiveInt | None = None
    """Train the head first, and every this many optimizer steps one layer more, from the top down."""


class Lora(Section):
    """Low-rank matrices beside frozen weights (Hu et al. 2021); added into them when the model is saved."""

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    """The product counts alpha / rank times."""
    dropout: Share = 0.0
    targets: tuple[str, ...] = ()
    """Last parts of the names of the modules; unset is peft's choice for the architecture, its attention."""


class AdaptableModel(Section):
    """How much of a transformers model is trained."""

    freeze: Freeze = Freeze()
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.lora and self.freeze.gradual:
            raise ValueError("lora freezes the layers that freeze.gradual would wake: choose one of the two")
        return self


class Pretrained(AdaptableModel):
    """A transformers model: a name in the project's list, a hub id, or a local folder."""

    kind: Literal["pretrained"] = "pretrained"
    name: str
    revision: str | None = None
    """Commit of the hub's repository."""
    pretrained: bool = True
    """false: the same architecture with random weights."""
    dropout: Share | None = None
    """Replaces the model's own dropout everywhere."""
    head: Literal["kept", "new"] = "kept"
    """new: start with a random head even where the weights bring one, of another task perhaps."""


class GPT(AdaptableModel):
    """Our own GPT-2: OpenAI's weights, or a model from nothing of any size."""

    kind: Literal["gpt"] = "gpt"
    name: str | None = None
    """Folder or hub id of GPT-2 weights."""
    revision: str | None = None
    """Commit of the hub's repository."""
    pretrained: bool = False
    """true: start from the weights of `name`; false: from random ones."""
    layers: PositiveInt | None = None
    """Unset, like the other sizes: 12 layers, 12 heads, width 768, context 1024, or those of the weights."""
    heads: PositiveInt | None = None
    width: PositiveInt | None = None
    context: PositiveInt | None = None
    """Longest sequence that the model can read."""
    dropout: Share | None = None
    """Unset: that of the weights, 0 for a model from nothing."""
    tokenizer: str = "auto"
    """characters, bpe (learned from data.train), or a folder or hub id; auto: that of the weights, else bpe."""
    vocab_size: PositiveInt = 4096
    """Most tokens that bpe learns."""


class CausalLM(AdaptableModel):
    """Any causal language model of transformers: one with weights, or one from nothing by its configuration."""

    kind: Literal["causal-lm"] = "causal-lm"
    name: str | None = None
    """Folder or hub id."""
    revision: str | None = None
    """Commit of the hub's repository."""
    pretrained: bool = True
    """false: the same architecture with random weights."""
    config: dict[str, str | int | float | bool] | None = None
    """Instead of a name: transformers' own settings, `model_type` among them, for a model from nothing."""
    dropout: Share | None = None
    """Replaces the model's own dropout everywhere."""
    tokenizer: str = "auto"
    """characters, bpe (learned from data.train), or a folder or hub id; auto: that of the model, else bpe."""
    vocab_size: PositiveInt = 4096
    """Most tokens that bpe learns."""


class SmallCNN(Section):
    """Two convolutions with ReLU and pooling, two fully connected layers."""

    kind: Literal["cnn"] = "cnn"
    width: PositiveInt = 32
    """Channels of the first convolution; the second has twice as many."""
    hidden: PositiveInt = 128
    """Width of the first fully connected layer."""
    dropout: Share = 0.0
    """Before the last layer."""
