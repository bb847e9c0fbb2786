"""The head that pretrained weights bring along: which of its rows answers for which class of the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from app.errors import ModelError, Problem

NEW = "say model.head=new, which starts with a random head"
UNNAMED = re.compile(r"LABEL_(\d+)")  # transformers' name of a class that has none


def last_linear(model: nn.Module, outputs: int) -> tuple[str, nn.Linear] | None:
    """Return the last linear map to so many outputs, which gives a classifier's logits, and its name."""
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == outputs]
    return found[-1] if found else None


def order_classes(model: Any, old: Sequence[str], new: Sequence[str]) -> None:
    """Reorder the rows of a head with the classes `old` to the classes `new`, matched by name.

    Upper and lower case are the same, and LABEL_3 is the class 3. Raises ModelError if the names differ otherwise.
    """
    if list(old) == list(new):
        return
    names = [_plain(name) for name in old]
    wanted = [_plain(name) for name in new]
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        if all(map(UNNAMED.fullmatch, old)):
            what = f"the weights have a head without names for its classes, and the data's are {', '.join(new)}"
            fix = f"name them in id2label of the model's config.json, or {NEW}"
        else:
            what = f"the weights have a head for the classes {', '.join(old)}, and the data's are {', '.join(new)}"
            fix = f"name the labels of the data alike, or {NEW}"
        raise ModelError(Problem(what, fix))
    order = torch.tensor([names.index(name) for name in wanted])
    found = last_linear(model, len(new))
    if found is None:
        raise ModelError(Problem("the head's classes have another order than the data's and cannot be moved", NEW))
    with torch.no_grad():
        for parameter in found[1].parameters():
            parameter.copy_(parameter[order])


def _plain(name: str) -> str:
    unnamed = UNNAMED.fullmatch(name)
    return unnamed[1] if unnamed else name.lower()
