"""Whether a model got all of its weights from a file, and the file had no others: transformers only logs it.

Tensors that are missing stay random, and those that the model does not know are dropped. For a head that is wanted:
weights of another task are the usual start. Below the head it means that config.json and the weights are of two models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from app.errors import ModelError, Problem
from app.models.fetch import INDEX, WEIGHTS

SHOWN = 3  # names in an error
CONSTANTS = ("inv_freq", "masked_bias", "position_ids")  # older releases saved them; now they are computed
FIX = "name a folder whose config.json and weights are of one model, or say model.pretrained=false"
NEW_HEAD = "say model.head=new"

Shapes = Callable[[], Any]
"""Makes a model without memory; None if it cannot be made so."""


def check_tensors(model: Any, loading: Mapping[str, Any], folder: Path, whole: bool, base: Shapes) -> None:
    """Check what transformers says about the weights that it read from a folder into a model.

    `whole`: the head must have come with them too. `base` makes the model without a head. Raises ModelError naming
    tensors that are missing, unexpected or of another shape. A pooler may be missing: models that were trained to
    predict masked words have none.
    """
    problems = []
    absent = [n for n in loading["missing_keys"] if whole or (is_below_head(model, n) and "pooler" not in n)]
    if absent:
        problems.append(Problem(f"the weights lack {_some(absent)}, which the model has", FIX, str(folder)))
    if other := [row[0] for row in loading["mismatched_keys"] if is_below_head(model, row[0])]:
        problems.append(_other_shape(other, folder))
    if unknown := _unknown(model, loading["unexpected_keys"], folder, base):
        what = f"the weights have {_some(unknown)}, which the model of config.json does not have"
        problems.append(Problem(what, FIX, str(folder)))
    if problems:
        raise ModelError(*problems)


def mismatch_problem(error: Exception, model: nn.Module | None, folder: Path) -> Problem:
    """Return what torch's error about sizes says: that the weights have another head, or are another model's.

    `model`: its shapes, None if they are unknown.
    """
    names = re.findall(r"size mismatch for ([\w.]+):", str(error))
    base = [name for name in names if model is not None and is_below_head(model, name)]
    if base:
        return _other_shape(base, folder)
    return Problem("the weights have a head for other classes than the data's", NEW_HEAD, str(folder))


def is_below_head(model: Any, name: str) -> bool:
    """Return whether a tensor is of the model without its head. Weights of such a model have names without a prefix."""
    prefix, own = f"{model.base_model_prefix}.", model.state_dict().keys()
    return name.startswith(prefix) or (name not in own and prefix + name in own)


def _unknown(model: Any, unexpected: Sequence[str], folder: Path, base: Shapes) -> list[str]:
    """Return the unexpected tensors that are not of another head, nor of a part that the task leaves out (a pooler)."""
    unexpected = [name for name in unexpected if not name.endswith(CONSTANTS)]
    if not unexpected:
        return []
    prefix = model.base_model_prefix
    own = {name.removeprefix(f"{prefix}.") for name in model.state_dict()}
    prefixed = any(name.startswith(f"{prefix}.") for name in stored_names(folder))
    parts = {prefix} if prefixed else {name.partition(".")[0] for name in own}  # of the model below its head
    below = [name for name in unexpected if name.partition(".")[0] in parts]
    without_head = base() if below else None
    known = set() if without_head is None else without_head.state_dict().keys()
    return [name for name in below if (name.removeprefix(f"{prefix}.") if prefixed else name) not in known]


def stored_names(folder: Path) -> list[str]:
    """Return the names of the tensors in a folder's weights."""
    if (folder / WEIGHTS[0]).is_file():
        with safe_open(folder / WEIGHTS[0], framework="pt") as file:
            return list(file.keys())
    return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])


def _other_shape(names: Sequence[str], folder: Path) -> Problem:
    return Problem(f"the weights have {_some(names)} in another shape than config.json says", FIX, str(folder))


def _some(names: Sequence[str]) -> str:
    """Return how many tensors these are, and the first names."""
    more = " and more" if len(names) > SHOWN else ""
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({', '.join(names[:SHOWN])}{more})"
