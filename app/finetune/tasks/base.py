"""The base class of tasks: data, model, loss, predictions and their scores. One engine trains them all.

To add one: subclass `Task`, add it to the table in `app/finetune/tasks/__init__.py`, and give `app.schema` its recipe.
The loss is a *sum*, and `weight` is the number of examples or tokens it sums over. So batches of different sizes,
accumulated or on many devices, count in proportion to what they hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from torch import Tensor, nn

from app.data.batch import Batch, DataSet
from app.errors import ConfigError, Problem
from app.schema import Recipe

R = TypeVar("R", bound=Recipe)
Split = Literal["train", "dev", "test"]
Forward = Callable[..., Any]
"""The model, or its compiled form: takes `Batch.inputs` as keywords."""


@dataclass(frozen=True)
class Prediction:
    """One example of an evaluation. Plain values, so that processes can exchange them."""

    index: int
    """Its place in the data set; tells whether two devices predicted the same example or two."""
    loss: float
    weight: float
    answer: Any = None
    """What the model predicted: a class, a number, tags."""
    detail: Any = None
    """What else `score` or `to_json` needs, for example probabilities."""


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation."""

    values: dict[str, float]
    """Name to number; an evaluation always has `loss`."""
    tables: str = ""
    """Markdown for report.md and the terminal."""


@dataclass(frozen=True)
class Splits:
    """The data sets of a training."""

    train: DataSet
    dev: DataSet
    test: DataSet | None = None

    def digests(self) -> dict[str, str]:
        """Return split to the sha256 of what it was made from."""
        named = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: data.digest for split, data in named.items() if data is not None}


class Task(ABC, Generic[R]):
    """What is learned, built from its recipe."""

    unit: ClassVar[str] = "examples"
    """What examples are called in reports of speed."""
    monitor: ClassVar[str] = "loss"
    """The score on dev that decides which checkpoint is best."""
    higher_is_better: ClassVar[bool] = False
    no_answer: ClassVar[dict[str, Any]] = {"answer": None}
    """What `predict` prints for an empty line of its input."""
    limits_evaluation: ClassVar[bool] = False
    """Whether evaluations while training are limited to part of dev unless `trainer.eval_batches` sets a number."""

    def __init__(self, recipe: R) -> None:
        self.recipe = recipe

    @abstractmethod
    def data(self, split: Split) -> DataSet | None:
        """Return a split, read and encoded; None if the recipe names no such data. Raises DataError."""

    @abstractmethod
    def model(self, train: DataSet) -> nn.Module:
        """Return a new model to train on `train`, a data set of `data`.

        Random parts draw from torch's generator, which is seeded before the call.
        """

    @abstractmethod
    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """Return the training loss of a batch: (), the sum over its `weight` examples or tokens, with gradient."""

    def weight(self, batch: Batch) -> int:
        """Return how many examples or tokens `loss` sums over; known before the forward pass."""
        return len(batch)

    @abstractmethod
    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        """Return a prediction for each example of a batch; without labels the loss is 0."""

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        """Return metrics and tables over a split. `predictions` has each example once, in the order of the data."""

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the trained model into an empty folder: safetensors, and everything else that `load` needs."""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """Return a model that `save` wrote, and restore what the task knew then (its classes, for example)."""

    def predict_dataset(self, name: str | None) -> DataSet:
        """Return the examples of a file, or of stdin if `name` is None, for `app predict`.

        Raises DataError; ConfigError if the task cannot predict from a file.
        """
        what = f"a run of {self.recipe.task} has nothing to predict from a file"
        raise ConfigError(Problem(what, "score it instead: app evaluate RUN"))

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        """Return one line of the output of `app predict`."""
        return {"answer": prediction.answer}

    def json_lines(self, predictions: Sequence[Prediction], data: DataSet) -> Iterator[dict[str, Any]]:
        """Return the lines of the output of `app predict`; `predictions` has each example once, in order."""
        return map(self.to_json, predictions)

    def calibrate(self, model: nn.Module, predictions: Sequence[Prediction], dev: DataSet) -> bool:
        """Tune on dev what the loss does not, for example a threshold. Return whether the model changed."""
        return False

    def verify(self, model: nn.Module) -> Scores | None:
        """Check a trained model against something other than data, such as a closed form; None without a check."""
        return None

    def flops_per_token(self, model: nn.Module) -> float:
        """Return the FLOPs of a training step for each useful token (or image, or point), without attention's.

        They depend on which parameters are frozen. `FlopCounter` counts whole batches.
        """
        return flops_of_weights(model)

    def attention_flops(self, model: nn.Module, batch: Batch) -> float:
        """Return the FLOPs of attention in a training step on the useful part of a batch; 0 without attention."""
        return 0.0


class FlopCounter:
    """Counts the floating-point operations of training steps on the useful part of their batches.

    Make it before FSDP shards the model: afterwards this process sees only its own shard.
    """

    def __init__(self, task: Task[Any], model: nn.Module) -> None:
        self.task, self.model = task, model
        self.per_token = task.flops_per_token(model)
        self.trained = self._trained()

    def __call__(self, batch: Batch) -> float:
        """Return the FLOPs of a forward and backward pass. Counts the weights again if layers were unfrozen."""
        if self.task.recipe.freeze.gradual and self._trained() != self.trained:
            self.per_token, self.trained = self.task.flops_per_token(self.model), self._trained()
        return self.per_token * batch.useful + self.task.attention_flops(self.model, batch)

    def _trained(self) -> int:
        return sum(p.requires_grad for p in self.model.parameters())


def flops_of_weights(model: nn.Module) -> float:
    """Return the FLOPs of a training step for each token, without attention and element-wise operations.

    Each parameter that multiplies costs 2 in the forward pass, 2 in the backward pass for the gradient of its input,
    and 2 for its own gradient (Kaplan et al. 2020, section 2.1). A frozen one needs no gradient, and the
    backward pass ends at the lowest trained one. Embedding tables look up and do not multiply; a tied output head does.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    flops, backward = 0.0, False
    for parameter in model.parameters():  # from the bottom up
        backward = backward or parameter.requires_grad
        if id(parameter) not in tables - tied:
            flops += parameter.numel() * (2.0 + 2.0 * backward + 2.0 * parameter.requires_grad)
    return flops


def flops_of_attention(config: Any, length: float) -> float:
    """Return 12 L C T: attention's FLOPs for each token of a sequence of `length` (Chowdhery et al. 2022, appendix B).

    `config`: of a transformers model; L layers, width C.
    """
    layers, width = (float(getattr(config, name, 0)) for name in ("num_hidden_layers", "hidden_size"))
    return 12.0 * layers * width * length


def mean_loss(predictions: Sequence[Prediction]) -> float:
    """Return the mean loss of an example or token; nan without any."""
    weight = sum(p.weight for p in predictions)
    return sum(p.loss for p in predictions) / weight if weight else float("nan")
