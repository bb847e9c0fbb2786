"""Weights of our own small models: one safetensors file, read as if a stranger had written it."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from app.errors import ModelError, Problem, first_line

WEIGHTS = "model.safetensors"


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put the weights of a folder into a model. Raises ModelError if they are unreadable or another model's."""
    path = folder / WEIGHTS
    try:
        model.load_state_dict(load_file(str(path)))
    except (OSError, SafetensorError) as error:
        what = f"the safetensors weights cannot be read: {first_line(error)}"
        raise ModelError(Problem(what, "restore them from a copy, or train again", str(path))) from error
    except RuntimeError as error:  # names or shapes of another model
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        what = f"the weights are another model's: {reason or first_line(error)}"
        raise ModelError(Problem(what, "restore them from a copy, or train again", str(path))) from error
