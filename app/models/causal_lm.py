"""Causal language models of transformers: from a folder, from the hub, or from nothing by their configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from app.errors import ModelError, Problem, did_you_mean
from app.models.adapters import adapted
from app.models.fetch import model_folder
from app.models.pretrained import built, config_in, configured, quiet_transformers
from app.schema import CausalLM, Pretrained


def configuration(model: CausalLM) -> Any:
    """transformers' configuration of a model. Raises ModelError for a setting or an architecture that there is not."""
    if (model.name is None) == (model.config is None):
        raise ModelError(Problem("model: give either name or config", "name a folder or hub id: model.name=..."))
    if model.name is not None:
        folder = model_folder(model.name, model.revision, weights=model.pretrained)
        return configured(folder, Pretrained(name=model.name, dropout=model.dropout))
    if model.pretrained:
        raise ModelError(Problem("model.config makes a model with random weights", "say model.pretrained=false"))
    return _from_settings(model.config or {})


def causal_model(model: CausalLM, config: Any, vocabulary: int, end: int | None) -> nn.Module:
    """A model with the weights of its folder, or a random one of `vocabulary` tokens: seed first."""
    kind = quiet_transformers().AutoModelForCausalLM
    if model.pretrained and model.name is not None:
        return adapted(built(kind, model_folder(model.name, model.revision), config, pretrained=True), model)
    config.vocab_size = vocabulary
    config.bos_token_id = config.eos_token_id = end
    return adapted(built(kind, Path(), config, pretrained=False), model)


def load_causal(folder: Path) -> nn.Module:
    """A model that `save_pretrained` wrote."""
    return built(quiet_transformers().AutoModelForCausalLM, folder, config_in(folder), pretrained=True)


def longest(config: Any) -> int | None:
    """The longest sequence that a model can read, where its configuration says."""
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) else None


def _from_settings(settings: dict[str, Any]) -> Any:
    """A configuration by transformers' own names. Raises ModelError for names that its architecture does not have."""
    auto = quiet_transformers().AutoConfig
    kind = settings.get("model_type")
    try:
        plain = auto.for_model(kind)
    except ValueError as error:
        fix = "name one that transformers has: model.config.model_type=llama"
        raise ModelError(Problem(f"model.config.model_type: no architecture is called {kind!r}", fix)) from error
    problems = []
    for name in settings:
        if not hasattr(plain, name):
            guess = did_you_mean(name, sorted(vars(plain)))
            fix = f"did you mean {guess}?" if guess else "leave it out"
            problems.append(Problem(f"model.config.{name}: {kind} has no such setting", fix))
    if problems:
        raise ModelError(*problems)
    return auto.for_model(kind, **{name: value for name, value in settings.items() if name != "model_type"})
