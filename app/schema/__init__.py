"""The keys and values of a recipe: one class for each section, one `Recipe` for each task.

`app recipes --schema` prints the docstrings of the fields.
"""

from app.schema.data import Generated, LabelledImages, RunningText, TaggedFiles, TextFiles
from app.schema.models import GPT, AdaptableModel, CausalLM, Freeze, Linear, Lora, Pretrained, SmallCNN
from app.schema.recipes import (
    RECIPES,
    AnyRecipe,
    CausalLanguageModel,
    ImageClassification,
    LanguageModel,
    LinearRegression,
    LogisticRegression,
    Recipe,
    TextClassification,
    TextRegression,
    TokenClassification,
)
from app.schema.section import Section
from app.schema.training import Optimizer, Schedule, Trainer

__all__ = [
    "GPT",
    "RECIPES",
    "AdaptableModel",
    "AnyRecipe",
    "CausalLM",
    "CausalLanguageModel",
    "Freeze",
    "Generated",
    "ImageClassification",
    "LabelledImages",
    "LanguageModel",
    "Linear",
    "LinearRegression",
    "LogisticRegression",
    "Lora",
    "Optimizer",
    "Pretrained",
    "Recipe",
    "RunningText",
    "Schedule",
    "Section",
    "SmallCNN",
    "TaggedFiles",
    "TextClassification",
    "TextFiles",
    "TextRegression",
    "TokenClassification",
    "Trainer",
]
