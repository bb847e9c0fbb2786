"""transformers models by what they are for: a classifier of texts or of words, with its tokenizer."""

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
from app.models.adapters import adapted
from app.models.fetch import checked_folder, model_folder
from app.schema import Pretrained

# Fairseq's models, and those that copied them, number their positions from one behind the padding id.
COUNTED_FROM_PADDING = frozenset(
    ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta")
)


def tokenizer_of(model: Pretrained) -> Any:
    """The fast tokenizer of a model. Raises ModelError where it has none."""
    return tokenizer_in(model_folder(model.name, model.revision, weights=model.pretrained))


def tokenizer_in(folder: Path) -> Any:
    """The fast tokenizer in a folder. Raises ModelError where it has none."""
    transformers = quiet_transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=True)
    except Exception as error:  # the tokenizers library raises nothing more particular
        raise ModelError(
            Problem("the folder has no tokenizer that can be read", "add tokenizer.json", str(folder))
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(Problem("the tokenizer has no fast form", "add tokenizer.json", str(folder)))
    return tokenizer


def tokenizer_for_words(folder: Path) -> Any:
    """The fast tokenizer in a folder, ready for texts that are cut into words. Raises ModelError where it has none."""
    tokenizer = tokenizer_in(folder)
    if getattr(tokenizer, "add_prefix_space", None) is False:  # byte-level: a word in a text begins with its space
        return quiet_transformers().AutoTokenizer.from_pretrained(folder, use_fast=True, add_prefix_space=True)
    return tokenizer


def config_of(model: Pretrained) -> Any:
    """The configuration of a model. Raises ModelError."""
    return config_in(model_folder(model.name, model.revision, weights=model.pretrained))


def positions_in(config: Any) -> int | None:
    """Tokens that a model can read at once; None where its positions are relative, so that there is no such number."""
    rows = getattr(config, "max_position_embeddings", None) or 0
    if rows <= 0 or not getattr(config, "position_biased_input", True):
        return None
    return int(rows) - (config.pad_token_id + 1 if config.model_type in COUNTED_FROM_PADDING else 0)


def sequence_classifier(model: Pretrained, classes: Sequence[str]) -> nn.Module:
    """A model with one logit for each class. The head is random, and all of it with `pretrained: false`: seed first."""
    return _classifier(quiet_transformers().AutoModelForSequenceClassification, model, classes)


def text_regressor(model: Pretrained) -> nn.Module:
    """The same with a single output that is a number."""
    made: Any = sequence_classifier(model, ["number"])
    made.config.problem_type = "regression"  # what transformers itself asks to choose a loss and an output
    return made  # type: ignore[no-any-return]


def token_classifier(model: Pretrained, classes: Sequence[str]) -> nn.Module:
    """The same with logits for every token."""
    return _classifier(quiet_transformers().AutoModelForTokenClassification, model, classes)


def _classifier(kind: Any, model: Pretrained, classes: Sequence[str]) -> nn.Module:
    folder = model_folder(model.name, model.revision, weights=model.pretrained)
    config = configured(folder, model)
    config.num_labels = len(classes)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    made: Any = built(kind, folder, config, model.pretrained, any_head=model.head == "new")
    if model.pretrained and model.head == "new":
        for name, part in made.named_children():
            if name != made.base_model_prefix:
                part.apply(made._init_weights)
    return adapted(made, model)


def load_classifier(folder: Path) -> nn.Module:
    """A classifier of texts that `save_pretrained` wrote."""
    return built(quiet_transformers().AutoModelForSequenceClassification, folder, config_in(folder), True)


def load_token_classifier(folder: Path) -> nn.Module:
    """A classifier of words that `save_pretrained` wrote."""
    return built(quiet_transformers().AutoModelForTokenClassification, folder, config_in(folder), True)


def quiet_transformers() -> Any:
    """transformers, with its notes about heads that are to be trained and tokenizers that fork turned off."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", message=".*resume_download.*", category=FutureWarning)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers


def config_in(folder: Path) -> Any:
    """The configuration in a folder. Raises ModelError where it cannot be read, or asks for code of its own."""
    try:
        return quiet_transformers().AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        said = first_line(error)
        fix = "name a folder that save_pretrained wrote"
        raise ModelError(Problem(f"config.json cannot be used: {said}", fix, str(folder))) from error


def configured(folder: Path, model: Pretrained) -> Any:
    """The configuration in a folder, with the recipe's dropout in place of its own."""
    config = config_in(folder)
    if model.dropout is not None:
        for name, value in config.to_dict().items():
            if "drop" in name and "layerdrop" not in name and isinstance(value, float):
                setattr(config, name, model.dropout)
    return config


def built(kind: Any, folder: Path, config: Any, pretrained: bool, any_head: bool = False) -> nn.Module:
    """A model of one of transformers' Auto classes, from a folder's safetensors or random. Raises ModelError.

    `any_head`: weights of another size than the configuration's, those of a head for other classes, are left out.
    """
    if pretrained:
        checked_folder(folder)
    try:
        made = (
            kind.from_pretrained(folder, config=config, use_safetensors=True, ignore_mismatched_sizes=any_head)
            if pretrained
            else kind.from_config(config)
        )
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        what = "the weights bring a head for other classes than the data's"
        raise ModelError(Problem(what, "say model.head=new", str(folder))) from error
    except (OSError, SafetensorError) as error:
        what = f"the safetensors weights cannot be read: {first_line(error)}"
        raise ModelError(Problem(what, "save or download them again", str(folder))) from error
    except (ValueError, KeyError) as error:
        raise ModelError(
            Problem(
                f"a {config.model_type} model cannot be used here: {error}",
                "choose a model of another kind",
                str(folder),
            )
        ) from error
    assert isinstance(made, nn.Module)
    return made
