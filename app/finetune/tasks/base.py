"""What a task is: its data, its model, its loss, its predictions and their scores. One engine trains them all.

To add one: subclass `Task`, add it to the table in `app/finetune/tasks/__init__.py`, and give `app.schema` its recipe.
The loss is a *sum*, and `weight` says over how many examples or tokens, so that batches of different size, accumulated
or on many devices, count for what they hold.
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
    """Its place in the data set; tells the same example on two devices apart from two examples."""
    loss: float
    weight: float
    answer: Any = None
    """What the model said: a class, a number, tags."""
    detail: Any = None
    """What else `score` or `predict` wants: probabilities for example."""


@dataclass(frozen=True)
class Scores:
    """What an evaluation found."""

    values: dict[str, float]
    """Name to number; `loss` is always there."""
    tables: str = ""
    """Markdown for report.md and the terminal."""


@dataclass(frozen=True)
class Splits:
    """The data of a job."""

    train: DataSet
    dev: DataSet
    test: DataSet | None = None

    def digests(self) -> dict[str, str]:
        """Split to the sha256 of what it was made from."""
        named = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: data.digest for split, data in named.items() if data is not None}


class Task(ABC, Generic[R]):
    """A kind of job, built from its recipe."""

    unit: ClassVar[str] = "examples"
    """What an example is called where its speed is shown."""
    monitor: ClassVar[str] = "loss"
    """The score on dev that says which checkpoint is best."""
    higher_is_better: ClassVar[bool] = False
    no_answer: ClassVar[dict[str, Any]] = {"answer": None}
    """What `predict` prints for an empty line of its input."""
    limits_evaluation: ClassVar[bool] = False
    """Whether evaluations on dev take a share of the training time unless `trainer.eval_batches` says otherwise."""

    def __init__(self, recipe: R) -> None:
        self.recipe = recipe
        self._operations: dict[int | None, float] = {}

    @abstractmethod
    def data(self, split: Split) -> DataSet | None:
        """Read and encode a split; None where the recipe names no such data. Raises DataError.

        `train` is asked for before `model`, unless `load` made the model.
        """

    @abstractmethod
    def model(self) -> nn.Module:
        """A new model to train. Random parts draw from torch's generator, which is seeded before the call."""

    @abstractmethod
    def loss(self, forward: Forward, batch: Batch) -> Tensor:
        """Return the training loss of a batch: (), the sum over its `weight` examples or tokens, with gradient."""

    def weight(self, batch: Batch) -> int:
        """Return how many examples or tokens `loss` sums over; known before the forward pass."""
        return len(batch)

    @abstractmethod
    def predict(self, forward: Forward, batch: Batch) -> list[Prediction]:
        """What the model says to each example of a batch; without labels the loss is 0."""

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], data: DataSet) -> Scores:
        """Metrics and tables over a whole split; `judged` is in the order of the data, each example once."""

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the trained model into an empty folder: safetensors, and all that `load` needs."""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """A model that `save` wrote; the task knows afterwards what it knew then (its classes for example)."""

    def predict_dataset(self, name: str | None) -> DataSet:
        """The examples of a file, or of stdin for None, for `predict`. Raises DataError; ConfigError where the task has
        nothing to predict from a file."""
        what = f"a run of {self.recipe.task} has nothing to predict from a file"
        raise ConfigError(Problem(what, "score it instead: app evaluate RUN"))

    def to_json(self, prediction: Prediction) -> dict[str, Any]:
        """One line of `predict`'s JSONL."""
        return {"answer": prediction.answer}

    def json_lines(self, predictions: Sequence[Prediction], data: DataSet) -> Iterator[dict[str, Any]]:
        """The lines of `predict`'s JSONL; `judged` is in the order of the data, each example once."""
        return map(self.to_json, predictions)

    def calibrate(self, model: nn.Module, predictions: Sequence[Prediction], dev: DataSet) -> bool:
        """Choose on dev what the loss does not, a threshold for example; whether the trained model is another now."""
        return False

    def verify(self, model: nn.Module) -> Scores | None:
        """What a finished training is checked against beyond its test set, where there is such a thing."""
        return None

    def flops(self, model: nn.Module, batch: Batch) -> float:
        """Floating-point operations of a training step on the useful part of a batch, by `operations_a_token`."""
        return self.operations(model) * batch.useful

    def operations(self, model: nn.Module) -> float:
        """What `count` says, asked once for each state of freezing: it walks over the whole model, which FSDP later
        leaves this process a part of."""
        awake = sum(p.requires_grad for p in model.parameters()) if self.recipe.freeze.gradual else None
        if awake not in self._operations:
            self._operations[awake] = self.count(model)
        return self._operations[awake]

    def count(self, model: nn.Module) -> float:
        """`operations_a_token`, or what a model does that its modules do not show."""
        return operations_a_token(model)


def operations_a_token(model: nn.Module) -> float:
    """Floating-point operations of a training step for each token, attention and pointwise ones left out.

    2 for each parameter that multiplies in the forward pass, 2 in the backward pass for the gradient of what came into
    it, and 2 for its own (Kaplan et al. 2020, section 2.1). A frozen one needs none of its own, and the backward pass
    ends at the first that is trained. Embedding tables look up and do not multiply; a tied output head does.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    tied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    operations, reached = 0.0, False
    for parameter in model.parameters():  # from the bottom up
        reached = reached or parameter.requires_grad
        if id(parameter) not in tables - tied:
            operations += parameter.numel() * (2.0 + 2.0 * reached + 2.0 * parameter.requires_grad)
    return operations


def mean_loss(predictions: Sequence[Prediction]) -> float:
    """Mean loss over everything that was judged."""
    weight = sum(j.weight for j in predictions)
    return sum(j.loss for j in predictions) / weight if weight else float("nan")
