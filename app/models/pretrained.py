"""Models of transformers with their tokenizers: classifiers and regressors of texts, classifiers of words."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from app.errors import ModelError, Problem, first_line
from app.models.adapters import apply_adapters
from app.models.fetch import check_folder, model_folder
from app.schema import Pretrained

# Fairseq's models and their descendants give the first token the position after the padding id.
POSITIONS_AFTER_PADDING = frozenset(
    ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta")
)


def tokenizer_of(model: Pretrained) -> Any:
    """Return the fast tokenizer of a model. Raises ModelError if it has none."""
    return load_tokenizer(model_folder(model.name, model.revision, weights=model.pretrained))


def load_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer in a folder. Raises ModelError if it has none."""
    return _fast_tokenizer(folder)


def _fast_tokenizer(folder: Path, **options: Any) -> Any:
    try:
        tokenizer = quiet_transformers().AutoTokenizer.from_pretrained(folder, use_fast=True, **options)
    except Exception as error:  # the tokenizers library raises nothing more specific
        raise ModelError(
            Problem("the folder has no tokenizer that can be read", "add tokenizer.json", str(folder))
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(Problem("the tokenizer has no fast form", "add tokenizer.json", str(folder)))
    return tokenizer


def load_word_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer in a folder, set up for texts split into words. Raises ModelError if it has none."""
    tokenizer = load_tokenizer(folder)
    if getattr(tokenizer, "add_prefix_space", None) is False:  # byte-level: in running text, a word starts with a space
        return _fast_tokenizer(folder, add_prefix_space=True)
    return tokenizer


def config_of(model: Pretrained) -> Any:
    """Return the configuration of a model. Raises ModelError."""
    return load_config(model_folder(model.name, model.revision, weights=model.pretrained))


def load_config(folder: Path) -> Any:
    """Return the configuration in a folder. Raises ModelError if it is unreadable or asks to run its own code."""
    try:
        return quiet_transformers().AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what, fix = f"config.json cannot be used: {first_line(error)}", "name a folder that save_pretrained wrote"
        raise ModelError(Problem(what, fix, str(folder))) from error


def config_with_dropout(folder: Path, dropout: float | None) -> Any:
    """Return the configuration in a folder, with `dropout`, if given, for every dropout rate in it except LayerDrop."""
    config = load_config(folder)
    if dropout is not None:
        for name, value in config.to_dict().items():
            if "drop" in name and "layerdrop" not in name and isinstance(value, float):
                setattr(config, name, dropout)
    return config


def max_positions(config: Any) -> int | None:
    """Return the longest input of a model in tokens; None if its positions are relative and set no limit."""
    rows = getattr(config, "max_position_embeddings", None) or 0
    if rows <= 0 or not getattr(config, "position_biased_input", True):
        return None
    return int(rows) - (config.pad_token_id + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0)


def build_sequence_classifier(model: Pretrained, classes: Sequence[str]) -> nn.Module:
    """Return a model with one logit for each class of a text.

    A new head, or the whole model with `pretrained: false`, draws from torch's generator: seed it first.
    """
    return _build_classifier(quiet_transformers().AutoModelForSequenceClassification, model, classes)


def build_text_regressor(model: Pretrained) -> nn.Module:
    """Return a model whose single output for a text is a number. Seed torch's generator first, as for a classifier."""
    regressor: Any = build_sequence_classifier(model, ["number"])
    regressor.config.problem_type = "regression"  # transformers chooses its loss and its pipeline's output by this
    return regressor  # type: ignore[no-any-return]


def build_token_classifier(model: Pretrained, classes: Sequence[str]) -> nn.Module:
    """Return a model with one logit for each class of every token. Seed torch's generator first."""
    return _build_classifier(quiet_transformers().AutoModelForTokenClassification, model, classes)


def _build_classifier(kind: Any, model: Pretrained, classes: Sequence[str]) -> nn.Module:
    folder = model_folder(model.name, model.revision, weights=model.pretrained)
    config = config_with_dropout(folder, model.dropout)
    config.num_labels = len(classes)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    classifier: Any = build_model(kind, folder, config, model.pretrained, any_head=model.head == "new")
    if model.pretrained and model.head == "new":
        for name, part in classifier.named_children():
            if name != classifier.base_model_prefix:
                part.apply(classifier._init_weights)
    return apply_adapters(classifier, model)


def load_classifier(folder: Path) -> nn.Module:
    """Return a classifier of texts that `save_pretrained` wrote."""
    return build_model(quiet_transformers().AutoModelForSequenceClassification, folder, load_config(folder), True)


def load_token_classifier(folder: Path) -> nn.Module:
    """Return a classifier of words that `save_pretrained` wrote."""
    return build_model(quiet_transformers().AutoModelForTokenClassification, folder, load_config(folder), True)


def build_model(kind: Any, folder: Path, config: Any, pretrained: bool, any_head: bool = False) -> nn.Module:
    """Return a model of one of transformers' Auto classes, from a folder's safetensors or with random weights.

    With `any_head`, weights whose shape differs from the configuration's are skipped: those of a head for other
    classes. Raises ModelError if the weights are unreadable or do not fit the configuration.
    """
    if pretrained:
        check_folder(folder)
    try:
        model = (
            kind.from_pretrained(folder, config=config, use_safetensors=True, ignore_mismatched_sizes=any_head)
            if pretrained
            else kind.from_config(config)
        )
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        what = "the weights have a head for other classes than the data's"
        raise ModelError(Problem(what, "say model.head=new", str(folder))) from error
    except (OSError, SafetensorError) as error:
        what = f"the safetensors weights cannot be read: {first_line(error)}"
        raise ModelError(Problem(what, "save or download them again", str(folder))) from error
    except (ValueError, KeyError) as error:
        what = f"a {config.model_type} model cannot be used here: {error}"
        raise ModelError(Problem(what, "choose a model of another kind", str(folder))) from error
    assert isinstance(model, nn.Module)
    return model


def quiet_transformers() -> Any:
    """Import transformers and silence its notes about untrained heads and about tokenizers in forked processes."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", message=".*resume_download.*", category=FutureWarning)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers
