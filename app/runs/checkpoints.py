"""Checkpoints without pickle: tensors as safetensors, the rest as JSON, whole or not there at all.

checkpoints/step-00000120/   tensors.safetensors  state.json  checksums.json    the newest few, to resume from
checkpoints/best-00000100/   model.safetensors    scores.json                   weights that scored best on dev
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from app import fileio
from app.errors import Problem, RunError
from app.runs.disk import writing

TENSORS, STATE, CHECKSUMS = "tensors.safetensors", "state.json", "checksums.json"
WEIGHTS = "model.safetensors"
TENSOR, TUPLE, PAIRS = "$tensor", "$tuple", "$pairs"  # how JSON marks what it has no form for


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a nested structure of tensors and plain values as the folder `path`, two below its run's. Raises RunError
    on a full disk."""
    tensors: dict[str, Tensor] = {}
    state = _flatten(checkpoint, "", tensors)
    with writing(path.name, path.parent.parent), fileio.new_folder(path) as building:
        write_tensors(_apart(tensors), building / TENSORS)
        fileio.write_text(building / STATE, json.dumps(state))  # an infinity, which JSON proper lacks, comes back
        fileio.write_json(building / CHECKSUMS, {name: fileio.sha256_of(building / name) for name in (TENSORS, STATE)})


def load(path: Path) -> dict[str, Any]:
    """What `save` wrote. Raises RunError where it is not whole."""
    verify(path)
    tensors = load_file(str(path / TENSORS))
    restored: dict[str, Any] = _unflatten(plain(path), tensors)
    return restored


def plain(path: Path) -> dict[str, Any]:
    """What of a checkpoint is not tensors, in its JSON form: quick, where only that is wanted."""
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


def verify(path: Path) -> None:
    """Compare a checkpoint with the checksums that were written with it. Raises RunError, saying what is damaged."""
    try:
        expected = json.loads((path / CHECKSUMS).read_text(encoding="utf-8"))
        damaged = [name for name in (TENSORS, STATE) if fileio.sha256_of(path / name) != expected[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(Problem(f"the checkpoint is not whole: {error}", "use the one before it", str(path))) from error
    if damaged:
        what = f"the checkpoint is damaged: {' and '.join(damaged)} changed since it was written, or is cut short"
        raise RunError(Problem(what, "use the one before it", str(path)))


def newest(folder: Path) -> tuple[Path | None, list[Problem]]:
    """The newest whole checkpoint of a run, None where there is none, and what is wrong with those after it."""
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
    """Checkpoints to resume from, oldest first."""
    return _named(folder, r"step-\d{8}")


def bests(folder: Path) -> list[Path]:
    """Weights that were the best on dev when they were written, oldest first."""
    return _named(folder, r"best-\d{8}")


def _named(folder: Path, pattern: str) -> list[Path]:
    """The folders whose whole names fit a pattern: nothing else in there is ours to read or to remove."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in entries if re.fullmatch(pattern, path.name) and path.is_dir())


def step_of(path: Path) -> int:
    """The optimizer step in the name of a checkpoint."""
    return int(path.name.rpartition("-")[2])


def forget_after(folder: Path, step: int) -> None:
    """Remove what lies beyond a step that a run goes back to, and what a killed process left half built."""
    for path in [*steps(folder), *bests(folder)]:
        if step_of(path) > step:
            shutil.rmtree(path, ignore_errors=True)
    for path in _named(folder, r"\.(step|best)-\d{8}\..+"):  # what `fileio.new_folder` builds in
        shutil.rmtree(path, ignore_errors=True)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file and wait until it is on the disk."""
    save_file(tensors, str(path))
    fileio.to_disk(path)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each with memory of its own: safetensors refuses two names for one."""
    seen: set[int] = set()
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone().contiguous() if memory in seen else tensor.contiguous()
        seen.add(memory)
    return tensors


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A JSON form of `value`; tensors go into `tensors` under their path and leave a mark."""
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
