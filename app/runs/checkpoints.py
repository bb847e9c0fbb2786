"""Checkpoints without pickle: tensors as safetensors, the rest as JSON. They are written whole or not at all.

checkpoints/step-00000120/   tensors.safetensors  state.json  checksums.json    the newest few, to resume from
checkpoints/best-00000100/   model.safetensors    scores.json                   the weights with the best score on dev
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from app import fileio
from app.errors import Problem, RunError
from app.runs.disk import disk_errors

TENSORS, STATE, CHECKSUMS = "tensors.safetensors", "state.json", "checksums.json"
WEIGHTS = "model.safetensors"
TENSOR, TUPLE, PAIRS = "$tensor", "$tuple", "$pairs"  # mark values that JSON has no form for


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a nested structure of tensors and plain values as the folder `path`, which is RUN/checkpoints/NAME.

    Raises RunError if the disk is full, TypeError for a value that is neither a tensor nor plain.
    """
    tensors: dict[str, Tensor] = {}
    state = _flatten(checkpoint, "", tensors)
    with disk_errors(path.name, path.parent.parent), fileio.new_folder(path) as building:
        write_tensors(_unshared(tensors), building / TENSORS)
        fileio.write_text(building / STATE, json.dumps(state))  # with infinities, which standard JSON lacks
        fileio.write_json(building / CHECKSUMS, {name: fileio.sha256_of(building / name) for name in (TENSORS, STATE)})


def load(path: Path) -> dict[str, Any]:
    """Return what `save` wrote. Raises RunError if the checkpoint is not whole."""
    verify(path)
    tensors = load_file(str(path / TENSORS))
    restored: dict[str, Any] = _unflatten(plain(path), tensors)
    return restored


def plain(path: Path) -> dict[str, Any]:
    """Return a checkpoint's state without reading its tensors, which are marks in it."""
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


def verify(path: Path) -> None:
    """Compare a checkpoint with its checksums. Raises RunError that names the damaged files."""
    try:
        expected = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        damaged = [name for name in (TENSORS, STATE) if fileio.sha256_of(path / name) != expected[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(Problem(f"the checkpoint is not whole: {error}", "use the one before it", str(path))) from error
    if damaged:
        what = f"the checkpoint is damaged: {' and '.join(damaged)} changed since it was written, or is cut short"
        raise RunError(Problem(what, "use the one before it", str(path)))


def newest(folder: Path) -> tuple[Path | None, list[Problem]]:
    """Return the newest whole checkpoint of a run, None without one, and what is wrong with those after it."""
    damaged: list[Problem] = []
    for path in reversed(steps(folder)):
        try:
            verify(path)
        except RunError as error:
            damaged += error.problems
        else:
            return path, damaged
    return None, damaged


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints to resume from, oldest first."""
    return sorted(folder.glob("step-*"))


def bests(folder: Path) -> list[Path]:
    """Return the weights that were the best on dev when they were written, oldest first."""
    return sorted(folder.glob("best-*"))


def step_of(path: Path) -> int:
    """Return the optimizer step in the name of a checkpoint."""
    return int(path.name.rpartition("-")[2])


def forget_after(folder: Path, step: int) -> None:
    """Remove what was written after `step`, to which a run returns, and what a killed process left half written."""
    for path in [*steps(folder), *bests(folder)]:
        if step_of(path) > step:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".*"):
        shutil.rmtree(path, ignore_errors=True)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file and wait until it is on the disk."""
    save_file(tensors, str(path))
    fileio.to_disk(path)


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, each with its own memory: safetensors refuses two names for one storage."""
    seen: set[int] = set()
    unshared: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        unshared[name] = tensor.clone().contiguous() if memory in seen else tensor.contiguous()
        seen.add(memory)
    return unshared


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return a JSON form of `value` with a mark for each tensor, which is added to `tensors` under its path."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach()
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
