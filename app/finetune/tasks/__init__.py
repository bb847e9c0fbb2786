"""The table of tasks. Each class is imported only when a recipe names it, because some import transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.finetune.tasks.base import Task
from app.schema import Recipe


def _linear_regression() -> type[Task[Any]]:
    from app.finetune.tasks.linear_regression import LinearRegressionTask

    return LinearRegressionTask


def _logistic_regression() -> type[Task[Any]]:
    from app.finetune.tasks.logistic_regression import LogisticRegressionTask

    return LogisticRegressionTask


def _text_classification() -> type[Task[Any]]:
    from app.finetune.tasks.text_classification import TextClassificationTask

    return TextClassificationTask


def _text_regression() -> type[Task[Any]]:
    from app.finetune.tasks.text_regression import TextRegressionTask

    return TextRegressionTask


def _token_classification() -> type[Task[Any]]:
    from app.finetune.tasks.token_classification import TokenClassificationTask

    return TokenClassificationTask


def _language_model() -> type[Task[Any]]:
    from app.finetune.tasks.gpt import GPTTask

    return GPTTask


def _causal_lm() -> type[Task[Any]]:
    from app.finetune.tasks.causal_lm import CausalLMTask

    return CausalLMTask


def _image_classification() -> type[Task[Any]]:
    from app.finetune.tasks.image_classification import ImageClassificationTask

    return ImageClassificationTask


TASKS: dict[str, Callable[[], type[Task[Any]]]] = {
    "linear-regression": _linear_regression,
    "logistic-regression": _logistic_regression,
    "text-classification": _text_classification,
    "text-regression": _text_regression,
    "token-classification": _token_classification,
    "language-model": _language_model,
    "causal-lm": _causal_lm,
    "image-classification": _image_classification,
}


def build_task(recipe: Recipe) -> Task[Any]:
    """Return the task that a recipe names."""
    return TASKS[recipe.task]()(recipe)
