"""What a recipe may say: one class for each section, one subclass of `Recipe` for each task.

Adding a task: subclass `Recipe` with its `task`, `model` and `data`, and name it in `RECIPES`. The field docstrings are
what `app recipes --schema` prints.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

Share = Annotated[float, Field(ge=0.0, le=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


class Optimizer(Section):
    """How weights move."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: PositiveFloat = 5e-5
    """Learning rate at its highest, after warm-up."""
    weight_decay: NotNegative = 0.0
    """Not applied to norms and biases."""
    betas: tuple[Share, Share] = (0.9, 0.999)
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
    """auto: bf16 where the hardware multiplies it fast, else tf32 on a GPU that has it, else fp32."""
    compile: bool = False
    """torch.compile the model."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt | Literal["auto"] = "auto"
    """Devices on this machine; auto is every GPU, or one CPU process."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    nodes: PositiveInt = 1
    eval_every: PositiveInt | None = None
    """Steps between evaluations on dev; unset is once an epoch."""
    checkpoint_every: PositiveInt | None = None
    """Steps between checkpoints; unset is at each evaluation."""
    log_every: PositiveInt = 10
    """Steps between lines in metrics.jsonl."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that prepare batches; 0 does it in the training process, which is right for encoded text."""
    deterministic: bool = True
    """Only operations that give the same bits each time."""


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


class Adapted(Section):
    """How much of a transformers model is trained."""

    freeze: Freeze = Freeze()
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.lora and self.freeze.gradual:
            raise ValueError("lora freezes the layers that freeze.gradual would wake: choose one of the two")
        return self


class Pretrained(Adapted):
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


class GPT(Section):
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


class CausalLM(Adapted):
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


class RunningText(Section):
    """Text to continue: a text file, or .jsonl, .tsv or .csv with one document a row; `shipped:` is in the package."""

    train: str
    dev: str | None = None
    """Unset: the last tenth of train."""
    test: str | None = None
    text: str = "text"
    """Where the documents are in a .jsonl, .tsv or .csv file."""
    length: PositiveInt | None = None
    """Tokens of an example; unset is the model's whole context."""
    stride: PositiveInt | None = None
    """Tokens between the starts of two training examples; unset is their length, 1 is every window there is."""


class SmallCNN(Section):
    """Two convolutions with ReLU and pooling, two fully connected layers."""

    kind: Literal["cnn"] = "cnn"
    width: PositiveInt = 32
    """Channels of the first convolution; the second has twice as many."""
    hidden: PositiveInt = 128
    """Width of the first fully connected layer."""
    dropout: Share = 0.0
    """Before the last layer."""


class LabelledImages(Section):
    """Images: `digits` (scikit-learn's), `torchvision:MNIST` and the like, or a folder with a folder for each class."""

    train: str = "digits"
    dev: str | None = None
    """Unset: a tenth of train."""
    test: str | None = None
    """Unset: a fifth of train. With torchvision the same name gives its test images."""
    side: Annotated[int, Field(ge=1, le=4096)] = 8
    """Images are made square, of this many pixels a side."""
    channels: Literal[1, 3] = 1
    """1: grey; 3: colour."""


class Generated(Section):
    """Points drawn from a known law, so that the answer is known."""

    examples: PositiveInt = 1000
    features: PositiveInt = 3
    noise: NotNegative = 0.1
    """Standard deviation of what is added to each target (regression)."""


class TextFiles(Section):
    """Texts with one label each: .tsv, .csv or .jsonl; `shipped:` names a file that comes with the package."""

    train: str
    dev: str
    test: str | None = None
    text: str = "text"
    """Column of the text, where the file names its columns; without a header the first is the text."""
    label: str = "label"
    max_length: PositiveInt = 256
    """Tokens of a text that are kept."""


class TaggedFiles(Section):
    """Sentences with a tag for each word: CoNLL columns, or .jsonl; `shipped:` names a file of the package.

    The tags are IOB1, IOB2, IOBES or BILOU, each file in one of them.
    """

    train: str
    dev: str
    test: str | None = None
    tokens: str = "tokens"
    """Key of the list of words in .jsonl."""
    tags: str = "tags"
    """Key of the list of tags in .jsonl."""
    max_length: PositiveInt = 256
    """Tokens that the model reads at a time; a longer sentence is read in overlapping windows."""


class Recipe(Section):
    """A whole training job. What a task adds is in the subclasses."""

    name: str
    about: str = ""
    """One line for `app recipes`."""
    task: str
    model: Any
    data: Any
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    trainer: Trainer = Trainer()
    tracking: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Trackers beside metrics.jsonl and TensorBoard."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1


class LinearRegression(Recipe):
    """Fit a line to points and compare with the closed form."""

    task: Literal["linear-regression"]
    model: Linear = Linear()
    data: Generated = Generated()


class LogisticRegression(Recipe):
    """Tell two clouds of points apart and compare with Bayes' rule."""

    task: Literal["logistic-regression"]
    model: Linear = Linear()
    data: Generated = Generated()


class TextClassification(Recipe):
    """One label for each text."""

    task: Literal["text-classification"]
    model: Pretrained
    data: TextFiles


class LanguageModel(Recipe):
    """Continue text, by our own GPT-2."""

    task: Literal["language-model"]
    model: GPT = GPT()
    data: RunningText


class CausalLanguageModel(Recipe):
    """Continue text, by any causal model of transformers."""

    task: Literal["causal-lm"]
    model: CausalLM
    data: RunningText


class TextRegression(Recipe):
    """One number for each text."""

    task: Literal["text-regression"]
    model: Pretrained
    data: TextFiles


class TokenClassification(Recipe):
    """A tag for each word of a sentence, to find entities by."""

    task: Literal["token-classification"]
    model: Pretrained
    data: TaggedFiles


class ImageClassification(Recipe):
    """One class for each image, by a small convolutional network."""

    task: Literal["image-classification"]
    model: SmallCNN = SmallCNN()
    data: LabelledImages = LabelledImages()


RECIPES: dict[str, type[Recipe]] = {
    "linear-regression": LinearRegression,
    "logistic-regression": LogisticRegression,
    "text-classification": TextClassification,
    "text-regression": TextRegression,
    "token-classification": TokenClassification,
    "language-model": LanguageModel,
    "causal-lm": CausalLanguageModel,
    "image-classification": ImageClassification,
}

AnyRecipe: Any = Annotated[Union[tuple(RECIPES.values())], Field(discriminator="task")]  # made, not written
