"""Causal language models of transformers: from a folder, from the hub, or with random weights from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from app.errors import ModelError, Problem, did_you_mean
from app.models.adapters import apply_adapters
from app.models.fetch import model_folder
from app.models.pretrained import build_model, config_with_dropout, load_config, max_positions, quiet_transformers
from app.models.self_test import check_causal
from app.models.sizes import check_counts
from app.schema import CausalLM


def build_config(model: CausalLM) -> Any:
    """Return transformers' configuration of a model. Raises ModelError for an unknown setting or architecture."""
    if (model.name is None) == (model.config is None):
        raise ModelError(Problem("model: give either name or config", "name a folder or hub id: model.name=..."))
    if model.name is not None:
        return config_with_dropout(model_folder(model.name, model.revision, weights=model.pretrained), model.dropout)
    if model.pretrained:
        raise ModelError(Problem("model.config makes a model with random weights", "say model.pretrained=false"))
    return _config_from_settings(model.config or {})


def build_causal_lm(model: CausalLM, config: Any, vocabulary: int, end: int | None) -> nn.Module:
    """Return a model with the weights of its folder, or with random weights for `vocabulary` tokens.

    `end` is the id of the token that ends a text. Random weights draw from torch's generator: seed it first. Raises
    ModelError if the model reads ahead.
    """
    kind = quiet_transformers().AutoModelForCausalLM
    if model.pretrained and model.name is not None:
        built = build_model(kind, model_folder(model.name, model.revision), config)
    else:
        config.vocab_size = vocabulary
        config.bos_token_id = config.eos_token_id = end
        built = build_model(kind, Path(model.name or "model.config"), config, pretrained=False)
    check_causal(built, max_positions(config))
    return apply_adapters(built, model)


def load_causal_lm(folder: Path) -> nn.Module:
    """Return a model that `save_pretrained` wrote."""
    return build_model(quiet_transformers().AutoModelForCausalLM, folder, load_config(folder))


def _config_from_settings(settings: dict[str, Any]) -> Any:
    """Return a configuration of these transformers settings. Raises ModelError for names that it does not have."""
    auto = quiet_transformers().AutoConfig
    kind = settings.get("model_type")
    try:
        default = auto.for_model(kind)
    except ValueError as error:
        fix = "name one that transformers has: model.config.model_type=llama"
        raise ModelError(Problem(f"model.config.model_type: no architecture is called {kind!r}", fix)) from error
    problems = []
    for name in settings:
        if not hasattr(default, name):
            guess = did_you_mean(name, sorted(vars(default)))
            fix = f"did you mean {guess}?" if guess else "leave it out"
            problems.append(Problem(f"model.config.{name}: {kind} has no such setting", fix))
    if problems:
        raise ModelError(*problems)
    check_counts(settings, "model.config")
    return auto.for_model(kind, **{name: value for name, value in settings.items() if name != "model_type"})
