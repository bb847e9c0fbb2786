"""Checkpoints without pickle: tensors as safetensors, the rest as JSON, whole or not there at all.

    checkpoints/step-00000120/   tensors.safetensors  state.json     the newest two, to resume from
    checkpoints/best/            model.safetensors                   weights that scored best on dev

`SafeCheckpoints` gives Lightning this format, so that `trainer.save_checkpoint` and `ckpt_path=` use it.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO
from safetensors.torch import load_file, save_file
from torch import Tensor

from app import atomic
from app.errors import Problem, RunError

TENSORS, STATE = "tensors.safetensors", "state.json"
TENSOR, TUPLE, PAIRS = "$tensor", "$tuple", "$pairs"  # how JSON marks what it has no form for


class SafeCheckpoints(CheckpointIO):
    """Lightning's checkpoints as a folder of safetensors and JSON."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None) -> dict[str, Any]:
        return load(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path, ignore_errors=True)


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a nested structure of tensors and plain values as the folder `path`. Raises RunError on a full disk."""
    tensors: dict[str, Tensor] = {}
    state = _flatten(checkpoint, "", tensors)
    try:
        with atomic.new_folder(path) as building:
            save_file(tensors, str(building / TENSORS))
            _to_disk(building / TENSORS)
            atomic.write_json(building / STATE, state)
    except OSError as error:
        raise RunError(
            Problem(
                f"the checkpoint could not be written: {error.strerror or error}",
                "free some space; the checkpoint before it is whole",
                str(path),
            )
        ) from error


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote. Raises RunError where it is not whole."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        tensors = load_file(str(path / TENSORS))
        restored: dict[str, Any] = _unflatten(state, tensors)
    except Exception as error:  # whatever a damaged file makes the parsers raise
        raise RunError(
            Problem(f"the checkpoint cannot be read: {error}", "resume from the one before it", str(path))
        ) from error
    return restored


def steps(folder: Path) -> list[Path]:
    """Checkpoints to resume from, oldest first."""
    return sorted(folder.glob("step-*"))


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A JSON form of `value`; tensors go into `tensors` under their path and leave a mark."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().clone().contiguous()  # safetensors refuses two names for one storage
        return {TENSOR: name}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _flatten(item, f"{name}/{key}", tensors) for key, item in value.items()}
        return {PAIRS: [[_flatten(k, "", tensors), _flatten(v, f"{name}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {TUPLE: [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} at {name}")


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return tensors[value[TENSOR]]
    if TUPLE in value:
        return tuple(_unflatten(item, tensors) for item in value[TUPLE])
    if PAIRS in value:
        return {_unflatten(k, tensors): _unflatten(v, tensors) for k, v in value[PAIRS]}
    return {key: _unflatten(item, tensors) for key, item in value.items()}


def _to_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk, so that a rename never publishes a hole."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
