"""The recipe of each task. To add one, subclass `Recipe` with its `task`, `model` and `data`, and add it to RECIPES."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Field

from app.schema.data import Generated, LabelledImages, RunningText, TaggedFiles, TextFiles
from app.schema.models import GPT, AdaptableModel, CausalLM, Freeze, Linear, Pretrained, SmallCNN
from app.schema.section import Section
from app.schema.training import Optimizer, Schedule, Trainer


class Recipe(Section):
    """A training job. Each task has its subclass, with its types of `model` and `data`."""

    name: Annotated[str, Field(pattern=r"^\w[\w .+-]{0,99}$")]
    """Part of the path of its runs: letters, digits, `_`, `.`, `+`, `-` and spaces, at most 100."""
    about: str = ""
    """One line for the list of `app recipes`."""
    task: str
    model: Section
    data: Section
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    trainer: Trainer = Trainer()
    tracking: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Trackers in addition to metrics.jsonl and TensorBoard."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1

    @property
    def freeze(self) -> Freeze:
        """Return the model's `freeze` section, or an empty one for a kind of model that cannot be frozen in part."""
        return self.model.freeze if isinstance(self.model, AdaptableModel) else Freeze()


class LinearRegression(Recipe):
    """Linear regression on points, compared with the closed form."""

    task: Literal["linear-regression"]
    model: Linear = Linear()
    data: Generated = Generated()


class LogisticRegression(Recipe):
    """Logistic regression on two clouds of points, compared with Bayes' rule."""

    task: Literal["logistic-regression"]
    model: Linear = Linear()
    data: Generated = Generated()


class TextClassification(Recipe):
    """One label for each text."""

    task: Literal["text-classification"]
    model: Pretrained
    data: TextFiles


class TextRegression(Recipe):
    """One number for each text."""

    task: Literal["text-regression"]
    model: Pretrained
    data: TextFiles


class TokenClassification(Recipe):
    """A tag for each word of a sentence, which marks entities."""

    task: Literal["token-classification"]
    model: Pretrained
    data: TaggedFiles


class LanguageModel(Recipe):
    """Continue text, with our own GPT-2."""

    task: Literal["language-model"]
    model: GPT = GPT()
    data: RunningText


class CausalLanguageModel(Recipe):
    """Continue text, with any causal language model of transformers."""

    task: Literal["causal-lm"]
    model: CausalLM
    data: RunningText


class ImageClassification(Recipe):
    """One class for each image, with a small convolutional network."""

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

# Any, because mypy cannot read a union that is built at run time.
AnyRecipe: Any = Annotated[Union[tuple(RECIPES.values())], Field(discriminator="task")]
