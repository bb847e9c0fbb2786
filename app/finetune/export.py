"""A run's model as a folder of its own, to give away: plain safetensors with all that loading needs."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from app import fileio
from app.errors import Problem, RunError
from app.finetune.engine.resume import same_data
from app.finetune.session import prepare
from app.runs import checkpoints
from app.runs.disk import writing
from app.runs.folder import Run
from app.runs.weights import weights_digest

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    step: int | None
    """The optimizer step of the weights; None for those that a finished training ended with."""
    size: int
    """Bytes of the safetensors files."""
    digest: str
    """`weights_digest` of them."""

    def summary(self) -> dict[str, Any]:
        """For a program to read."""
        return {**vars(self), "folder": str(self.folder)}

    def text(self) -> str:
        """For a person to read."""
        which = "" if self.step is None else f" of step {self.step}, the best on dev so far"
        return f"{self.folder}: weights{which}, {self.size / 1e6:,.1f} MB, sha256 {self.digest}"


def export_run(run: Run, target: Path, dtype: str | None = None) -> Exported:
    """Write a run's model into a new or empty folder, which appears whole or not at all; `dtype`: one of `DTYPES`.

    A run that was stopped gives the weights that scored best on dev so far. Raises RunError, DataError.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(Problem("something is there already", "name a new folder", str(target)))
    step = None
    again = "make room or give access, and export again"
    with writing(target.name, target.parent, again), fileio.new_folder(target) as building:
        if run.model.is_dir():
            shutil.copytree(run.model, building, dirs_exist_ok=True)
        else:
            step = save_best(run, building)
        if dtype:
            convert(building, dtype)
        size = sum(path.stat().st_size for path in building.rglob("*.safetensors"))
        return Exported(target, step, size, weights_digest(building))


def save_best(run: Run, folder: Path) -> int:
    """Save the weights that a stopped run keeps as its best; their step.

    Raises RunError where there are none yet, DataError where the data, which tells the classes, changed since.
    """
    kept = checkpoints.bests(run.checkpoints)
    if not kept:
        fix = f"go on with it: app train --resume {run.path}"
        raise RunError(Problem("the run has no weights yet that were scored on dev", fix, str(run.path)))
    session = prepare(run.recipe())
    same_data(run, session.splits)
    session.model.load_state_dict(load_file(str(kept[-1] / checkpoints.WEIGHTS)), strict=False)
    session.task.save(session.model, folder)
    return checkpoints.step_of(kept[-1])


def convert(folder: Path, dtype: str) -> None:
    """Write the floating-point tensors of a folder in another type, and say so in transformers' configuration."""
    kind = DTYPES[dtype]
    for path in folder.rglob("*.safetensors"):
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        cast = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        save_file(cast, str(path), about)
    config = folder / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    if "architectures" in settings:
        fileio.write_json(config, {**settings, "torch_dtype": str(kind).removeprefix("torch.")})
