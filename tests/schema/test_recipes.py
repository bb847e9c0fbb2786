"""Recipes have types: what every recipe offers, and what the JSON Schema prints about it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.config import load
from app.schema import RECIPES, AnyRecipe, Freeze, Trainer


@pytest.mark.parametrize("name", ["sentiment", "ner", "gpt-char", "causal-lm"])
def test_freeze_is_the_section_of_the_model(name: str) -> None:
    assert load(name).freeze == Freeze()
    assert load(name, ["model.freeze.gradual=3"]).freeze == Freeze(gradual=3)


@pytest.mark.parametrize("name", ["hello-linear", "hello-logistic", "digits-cnn"])
def test_freeze_is_empty_for_a_model_that_cannot_freeze_and_its_key_is_refused(name: str) -> None:
    recipe = load(name)
    assert recipe.freeze == Freeze()
    values = {**recipe.model_dump(), "model": {**recipe.model.model_dump(), "freeze": {"layers": 1}}}
    with pytest.raises(ValidationError, match=r"model\.freeze\n *Extra inputs are not permitted"):
        type(recipe).model_validate(values)


def test_every_task_has_its_own_types_of_model_and_data() -> None:
    for recipe in RECIPES.values():
        for section in ("model", "data"):
            assert recipe.__annotations__[section] not in ("Any", "Section"), f"{recipe.__name__}.{section}"


def trainer_schema() -> Any:
    return TypeAdapter(AnyRecipe).json_schema()["$defs"]["Trainer"]["properties"]


@pytest.mark.parametrize(
    ("field", "description"),
    [
        (
            "eval_batches",
            "Most batches of dev in one evaluation during training, evenly spaced over dev; unset: all of dev, and for"
            "\nlanguage models as many as take a tenth of the training time.",
        ),
        ("patience", "Stop after this many evaluations in a row without a better score; unset: never."),
    ],
)
def test_limits_of_evaluation_are_positive_or_unset(field: str, description: str) -> None:
    printed = trainer_schema()[field]
    assert printed["description"] == description
    assert printed["default"] is None
    assert printed["anyOf"] == [{"exclusiveMinimum": 0, "type": "integer"}, {"type": "null"}]
    assert getattr(Trainer(), field) is None
    assert getattr(Trainer.model_validate({field: 2}), field) == 2
    with pytest.raises(ValidationError, match="greater than 0"):
        Trainer.model_validate({field: 0})
