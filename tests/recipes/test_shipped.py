"""Each recipe trains with `app train NAME` on two cores, and reaches a score that guessing does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load, shipped_recipes
from app.finetune.train import train_recipe

# A score on test (dev if there is no test), whether it must be above or below, and the bound.
EXPECTED = {
    "hello-linear": ("loss", "below", 0.02),
    "hello-logistic": ("accuracy", "above", 0.8),
    "digits-cnn": ("accuracy", "above", 0.98),
    "gpt-char": ("loss", "below", 2.5),
    "causal-lm": ("loss", "below", 5.0),
    "sentiment": ("accuracy", "above", 0.75),
    "ner": ("entity_f1", "above", 0.5),
}


def test_every_recipe_has_an_expected_score() -> None:
    assert set(EXPECTED) == set(shipped_recipes()) - {"gpt2"}, "gpt2 needs the hub, or minutes"


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_recipe_learns(name: str, tmp_path: Path) -> None:
    score, side, bound = EXPECTED[name]
    scores = train_recipe(load(name), tmp_path).scores
    found = scores["test" if "test" in scores else "dev"].values[score]
    assert found > bound if side == "above" else found < bound, found
