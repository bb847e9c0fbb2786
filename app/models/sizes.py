"""How large a model would be, found out before anything of it is allocated: its sizes may come from a stranger's file.

A model of transformers is built on torch's meta device, on which a tensor has a shape and no memory. That takes a few
hundredths of a second. Two kinds of settings must be bounded before: numbers of layers, because the modules of each
are real, and the number of classes, because transformers makes a name for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from app.errors import ModelError, Problem
from app.hardware.memory import no_room

MOST_LAYERS = 1000  # the deepest published transformers have as many (Wang et al. 2022, DeepNet)
MOST_CLASSES = 1_000_000
LAYERS = re.compile(r"layers?$|^(n|num)_.*(layers|blocks|experts|groups)$|depth|^n_layer$|^num_codebooks$")
SMALLER = "take a smaller model, or correct the sizes in its config.json"
TOO_LARGE = "overflow|must be tuple of ints|too large|failed to unpack"  # torch 2.0 and 2.11 on a size of 10 ** 30


def check_counts(settings: Mapping[str, Any], where: str) -> None:
    """Check the settings of a configuration that cost memory by their number alone.

    Raises ModelError naming each that no model has.
    """
    problems = []
    for name, value in _integers(settings):
        most = MOST_CLASSES if name == "num_labels" else MOST_LAYERS if LAYERS.search(name) else None
        if most is not None and value > most:
            problems.append(Problem(f"{name}: {value} is more than the {most:,} that are read", SMALLER, where))
    if problems:
        raise ModelError(*problems)


def check_size(kind: Any, config: Any, where: str) -> None:
    """Raise ModelError if the parameters of a model of transformers would need more than all memory.

    `kind`: one of its Auto classes. A model that cannot be built on the meta device passes.
    """
    try:
        model = shapes_of(kind, config)
    except OverflowError as error:
        raise ModelError(Problem("the model's sizes are beyond any memory", SMALLER, where)) from error
    if model is None:
        return
    tensors = [*model.parameters(), *model.buffers()]
    parameters = sum(p.numel() for p in model.parameters())
    check_parameters(parameters, sum(t.numel() * t.element_size() for t in tensors), SMALLER, where)


def check_parameters(parameters: int, size: int, fix: str, where: str = "") -> None:
    """Raise ModelError if a model of so many parameters, in `size` bytes, is more than all memory."""
    if problem := no_room(f"the model would have {parameters:,} parameters", size, fix, where):
        raise ModelError(problem)


def shapes_of(kind: Any, config: Any) -> nn.Module | None:
    """Return a model of one of transformers' Auto classes without memory; None if it cannot be built so.

    Raises OverflowError if one of its sizes is more than an integer holds.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model: nn.Module = kind.from_config(config, trust_remote_code=False)
    except (OverflowError, RuntimeError, TypeError) as error:
        if isinstance(error, OverflowError) or re.search(TOO_LARGE, str(error)):
            raise OverflowError(str(error)) from error
        return None
    except Exception:  # what is wrong with the settings is said when the model is built
        return None
    return model


def _integers(settings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the integers of a configuration and of the configurations in it, with their names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _integers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield name, value
