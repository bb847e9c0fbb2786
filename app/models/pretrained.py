"""Models of transformers with their tokenizers: classifiers and regressors of texts, classifiers of words."""

from __future__ import annotations

import json
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
from app.models.heads import last_linear, order_classes
from app.models.sizes import check_counts, check_size, shapes_of
from app.models.tensors import check_tensors, mismatch_problem
from app.schema import Pretrained

MAX_SETTINGS = 16 << 20  # bytes of a configuration; a list of 100,000 added tokens has a few million
# Fairseq's models and their descendants give the first token the position after the padding id.
POSITIONS_AFTER_PADDING = frozenset(
    ("camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta")
)


def tokenizer_of(model: Pretrained) -> Any:
    """Return the fast tokenizer of a model. Raises ModelError if it has none."""
    return load_tokenizer(model_folder(model.name, model.revision, weights=model.pretrained))


def load_tokenizer(folder: Path) -> Any:
    """Return the fast tokenizer in a folder. Raises ModelError if it has none.

    Special tokens in a text are text: `</s>` in it does not end it, which would stop BART and T5, whose heads look for
    that token. The setting is saved with the tokenizer.
    """
    return _fast_tokenizer(folder)


def _fast_tokenizer(folder: Path, **options: Any) -> Any:
    check_settings(folder)
    try:
        tokenizer = quiet_transformers().AutoTokenizer.from_pretrained(
            folder, use_fast=True, split_special_tokens=True, trust_remote_code=False, **options
        )
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
    check_settings(folder)
    try:
        return quiet_transformers().AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what, fix = f"config.json cannot be used: {first_line(error)}", "name a folder that save_pretrained wrote"
        raise ModelError(Problem(what, fix, str(folder))) from error


def check_settings(folder: Path) -> None:
    """Check the JSON files that transformers obeys. Raises ModelError for one that asks to run its own code, that names
    other files to read (transformers 4.43 hangs on such a name: CVE-2025-3263), that asks for more layers or classes
    than any model has, or that is not an object at all."""
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        try:
            if not path.is_file():
                continue
            large = path.stat().st_size > MAX_SETTINGS
            settings = None if large else json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict):
            what = f"{name} cannot be used: it is not a JSON object of less than {MAX_SETTINGS >> 20} MiB"
            raise ModelError(Problem(what, "name a folder that save_pretrained wrote", str(folder)))
        if "auto_map" in settings:
            what = "auto_map: the model wants to run code that comes with it, which is refused"
            raise ModelError(Problem(what, "use a model whose code is in transformers", str(path)))
        if other := next((key for key in ("configuration_files", "fast_tokenizer_files") if key in settings), None):
            what = f"{other}: the folder names other files to read, which is refused"
            raise ModelError(Problem(what, f"remove {other} from it", str(path)))
        if name == "config.json":
            check_counts(settings, str(path))


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

    A new head, or the whole model with `pretrained: false`, draws from torch's generator: seed it first. A kept head
    answers for the classes by their names. Raises ModelError if it has others.
    """
    kind = quiet_transformers().AutoModelForSequenceClassification
    return _build_classifier(kind, model, classes, "single_label_classification")[0]


def build_text_regressor(model: Pretrained) -> tuple[nn.Module, bool]:
    """Return a model whose single output for a text is a number, and whether its head came with the weights.

    Seed torch's generator first, as for a classifier.
    """
    return _build_classifier(quiet_transformers().AutoModelForSequenceClassification, model, ["number"], "regression")


def build_token_classifier(model: Pretrained, classes: Sequence[str]) -> nn.Module:
    """Return a model with one logit for each class of every token. Seed torch's generator first."""
    return _build_classifier(quiet_transformers().AutoModelForTokenClassification, model, classes, None)[0]


def _build_classifier(
    kind: Any, model: Pretrained, classes: Sequence[str], problem_type: str | None
) -> tuple[nn.Module, bool]:
    """Return a model and whether its head came with the weights.

    transformers chooses its loss and its pipeline's output by `problem_type`: that of the weights must not stay.
    """
    folder = model_folder(model.name, model.revision, weights=model.pretrained)
    config = config_with_dropout(folder, model.dropout)
    old = [config.id2label.get(i, f"LABEL_{i}") for i in range(config.num_labels)]
    config.problem_type = problem_type
    config.num_labels = len(classes)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: i for i, name in enumerate(classes)}
    found, missing = _build(kind, folder, config, model.pretrained, any_head=model.head == "new")
    classifier: Any = found
    head = last_linear(classifier, len(classes))
    kept = model.pretrained and model.head == "kept" and head is not None and f"{head[0]}.weight" not in missing
    if kept and len(classes) > 1:
        order_classes(classifier, old, classes)
    if model.pretrained and model.head == "new":
        for name, part in classifier.named_children():
            if name != classifier.base_model_prefix:
                part.apply(classifier._init_weights)
    return apply_adapters(classifier, model), kept


def load_classifier(folder: Path) -> nn.Module:
    """Return a classifier of texts that `save_pretrained` wrote."""
    return build_model(quiet_transformers().AutoModelForSequenceClassification, folder, load_config(folder))


def load_token_classifier(folder: Path) -> nn.Module:
    """Return a classifier of words that `save_pretrained` wrote."""
    return build_model(quiet_transformers().AutoModelForTokenClassification, folder, load_config(folder))


def build_model(kind: Any, folder: Path, config: Any, pretrained: bool = True) -> nn.Module:
    """Return a model of one of transformers' Auto classes, from a folder's safetensors or with random weights.

    Raises ModelError if the weights are unreadable or are not exactly those of the configuration, the head's included,
    or if they need more than all memory.
    """
    return _build(kind, folder, config, pretrained, whole=True)[0]


def _build(
    kind: Any, folder: Path, config: Any, pretrained: bool, any_head: bool = False, whole: bool = False
) -> tuple[nn.Module, list[str]]:
    """Return a model, and the names of its parameters that the weights do not have and that are therefore random.

    `whole`: there must be none. With `any_head`, a head whose shape differs from the configuration's is skipped.
    """
    transformers = quiet_transformers()
    if pretrained:
        check_folder(folder)
    check_size(kind, config, str(folder))
    try:
        if not pretrained:
            built = kind.from_config(config, trust_remote_code=False)
            assert isinstance(built, nn.Module)
            return built, []
        model, loading = kind.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=any_head,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise ModelError(mismatch_problem(error, shapes_of(kind, config), folder)) from error
    except (OSError, SafetensorError) as error:
        what = f"the safetensors weights cannot be read: {first_line(error)}"
        raise ModelError(Problem(what, "save or download them again", str(folder))) from error
    except (ValueError, KeyError, AttributeError, ImportError, TypeError) as error:  # a kind's code, or its package
        what = f"a {config.model_type} model cannot be used here: {first_line(error)}"
        raise ModelError(Problem(what, "choose a model of another kind", str(folder))) from error
    check_tensors(model, loading, folder, whole, lambda: shapes_of(transformers.AutoModel, config))
    assert isinstance(model, nn.Module)
    return model, list(loading["missing_keys"])


def quiet_transformers() -> Any:
    """Import transformers and silence its notes about untrained heads and about tokenizers in forked processes."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", message=".*resume_download.*", category=FutureWarning)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return transformers
