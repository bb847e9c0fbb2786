"""transformers models by what they are for: a classifier of texts, with its tokenizer."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from app.errors import ModelError, Problem
from app.models.fetch import model_folder
from app.schema import Pretrained


def tokenizer_of(model: Pretrained) -> Any:
    """The fast tokenizer of a model. Raises ModelError where it has none."""
    return tokenizer_in(model_folder(model.name, model.revision, weights=False))


def tokenizer_in(folder: Path) -> Any:
    """The fast tokenizer in a folder. Raises ModelError where it has none."""
    transformers = quiet_transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            Problem("the folder has no tokenizer that can be read", "add tokenizer.json", str(folder))
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(Problem("the tokenizer has no fast form", "add tokenizer.json", str(folder)))
    return tokenizer


def sequence_classifier(model: Pretrained, classes: Sequence[str]) -> nn.Module:
    """A model with one logit for each class. The head is random, and all of it with `pretrained: false`: seed first."""
    transformers = quiet_transformers()
    folder = model_folder(model.name, model.revision, weights=model.pretrained)
    config = _configured(folder, model)
    config.num_labels = len(classes)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    return _built(transformers.AutoModelForSequenceClassification, folder, config, model.pretrained)


def load_classifier(folder: Path) -> nn.Module:
    """A classifier that `save_pretrained` wrote."""
    transformers = quiet_transformers()
    return _built(
        transformers.AutoModelForSequenceClassification, folder, transformers.AutoConfig.from_pretrained(folder), True
    )


def quiet_transformers() -> Any:
    """transformers, with its notes about heads that are to be trained and tokenizers that fork turned off."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", message=".*resume_download.*", category=FutureWarning)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers


def _configured(folder: Path, model: Pretrained) -> Any:
    config = quiet_transformers().AutoConfig.from_pretrained(folder)
    if model.dropout is not None:
        for name in (
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "dropout",
            "attention_dropout",
            "resid_pdrop",
            "embd_pdrop",
            "attn_pdrop",
        ):
            if hasattr(config, name):
                setattr(config, name, model.dropout)
    return config


def _built(kind: Any, folder: Path, config: Any, pretrained: bool) -> nn.Module:
    try:
        built = (
            kind.from_pretrained(folder, config=config, use_safetensors=True)
            if pretrained
            else kind.from_config(config)
        )
    except (ValueError, KeyError) as error:
        raise ModelError(
            Problem(
                f"a {config.model_type} model cannot be used here: {error}",
                "choose a model of another kind",
                str(folder),
            )
        ) from error
    assert isinstance(built, nn.Module)
    return built
