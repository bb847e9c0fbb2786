"""The `model` sections, one class for each kind of model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from app.schema.section import Fraction, Section


class Linear(Section):
    """A linear map with a bias."""

    kind: Literal["linear"] = "linear"


class Freeze(Section):
    """The parts of a model that are not trained."""

    names: tuple[str, ...] = ()
    """Names of parameters or modules; `*` matches anything."""
    layers: Annotated[int, Field(ge=0)] = 0
    """Freeze the embeddings and this many of the lowest layers."""
    gradual: PositiveInt | None = None
    """Train the head first, then one more layer every this many optimizer steps, from the top down."""


class Lora(Section):
    """LoRA (Hu et al. 2021): low-rank matrices next to frozen weights, added to the weights in the saved model."""

    rank: Annotated[int, Field(ge=1, le=4096)] = 8
    alpha: PositiveFloat = 16.0
    """The product of the matrices is multiplied by alpha / rank."""
    dropout: Fraction = 0.0
    targets: tuple[str, ...] = ()
    """Last parts of the names of the modules; unset: peft's choice for the architecture, in its attention."""


class AdaptableModel(Section):
    """A model that can be trained in part: frozen layers, or LoRA."""

    freeze: Freeze = Freeze()
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.lora and self.freeze.gradual:
            raise ValueError("lora freezes the layers that freeze.gradual would train: choose one of the two")
        return self


class Pretrained(AdaptableModel):
    """A transformers model: one of the project's catalogue, a hub id, or a local folder."""

    kind: Literal["pretrained"] = "pretrained"
    name: str
    revision: str | None = None
    """Commit of the hub repository."""
    pretrained: bool = True
    """false: the same architecture with random weights."""
    dropout: Fraction | None = None
    """Replaces all dropout rates of the model."""
    head: Literal["kept", "new"] = "kept"
    """new: start with a random head even if the weights have one, for example of another task."""


class GPT(AdaptableModel):
    """Our own GPT-2: OpenAI's weights, or random weights in any size."""

    kind: Literal["gpt"] = "gpt"
    name: str | None = None
    """Folder or hub id of GPT-2 weights."""
    revision: str | None = None
    """Commit of the hub repository."""
    pretrained: bool = False
    """true: start from the weights of `name`; false: from random weights."""
    layers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Unset, like the other sizes: 12 layers, 12 heads, width 768, context 1024, or those of the weights."""
    heads: PositiveInt | None = None
    width: PositiveInt | None = None
    context: PositiveInt | None = None
    """Longest sequence that the model can read, in tokens."""
    dropout: Fraction | None = None
    """Unset: that of the weights; 0 for random weights."""
    tokenizer: str = "auto"
    """characters, bpe (learned from data.train), or a folder or hub id; auto: that of the weights, else bpe."""
    vocab_size: Annotated[int, Field(ge=1, le=10**6)] = 4096
    """Size of the vocabulary that bpe learns, at most."""


class CausalLM(AdaptableModel):
    """Any causal language model of transformers: with weights, or with random weights from a configuration."""

    kind: Literal["causal-lm"] = "causal-lm"
    name: str | None = None
    """Folder or hub id."""
    revision: str | None = None
    """Commit of the hub repository."""
    pretrained: bool = True
    """false: the same architecture with random weights."""
    config: dict[str, str | int | float | bool] | None = None
    """Instead of a name: transformers' own settings, including `model_type`, for a model with random weights."""
    dropout: Fraction | None = None
    """Replaces all dropout rates of the model."""
    tokenizer: str = "auto"
    """characters, bpe (learned from data.train), or a folder or hub id; auto: that of the model, else bpe."""
    vocab_size: Annotated[int, Field(ge=1, le=10**6)] = 4096
    """Size of the vocabulary that bpe learns, at most."""


class SmallCNN(Section):
    """Two convolutions with ReLU and pooling, two fully connected layers."""

    kind: Literal["cnn"] = "cnn"
    width: PositiveInt = 32
    """Channels of the first convolution; the second has twice as many."""
    hidden: PositiveInt = 128
    """Width of the first fully connected layer."""
    dropout: Fraction = 0.0
    """Before the last layer."""
