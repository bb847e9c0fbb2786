"""`app export`: a run's model in a separate folder, as plain safetensors with everything that loading needs."""

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
from app.runs.disk import disk_errors
from app.runs.folder import Run
from app.runs.weights import weights_digest

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    step: int | None
    """The optimizer step of the weights; None for the weights of a finished training."""
    size: int
    """Bytes of the safetensors files."""
    digest: str
    """`weights_digest` of the folder."""

    def summary(self) -> dict[str, Any]:
        """Return what was written, for a JSON object."""
        return {**vars(self), "folder": str(self.folder)}

    def text(self) -> str:
        """Return what was written, as one line."""
        which = "" if self.step is None else f" of step {self.step}, the best on dev so far"
        return f"{self.folder}: weights{which}, {self.size / 1e6:,.1f} MB, sha256 {self.digest}"


def export_run(run: Run, target: Path, dtype: str | None = None) -> Exported:
    """Write a run's model into a new or empty folder, which appears complete or not at all; `dtype`: one of `DTYPES`.

    A run that was stopped gives the weights with the best score on dev so far. Raises RunError or DataError.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        what = "the folder is not empty" if target.is_dir() else "a file has this name"
        raise RunError(Problem(what, "name a new folder", str(target)))
    step = None
    again = "make room or give access, and export again"
    with disk_errors(target.name, target.parent, again), fileio.new_folder(target) as building:
        if run.model.is_dir():
            shutil.copytree(run.model, building, dirs_exist_ok=True)
        else:
            step = save_best(run, building)
        if dtype:
            convert(building, dtype)
        size = sum(path.stat().st_size for path in building.rglob("*.safetensors"))
        return Exported(target, step, size, weights_digest(building))


def save_best(run: Run, folder: Path) -> int:
    """Save the best weights of a stopped run and return their step.

    Raises RunError if there are none yet, DataError if the data, which defines the classes, has changed since.
    """
    kept = checkpoints.bests(run.checkpoints)
    if not kept:
        fix = f"continue it: app train --resume {run.path}"
        raise RunError(Problem("the run has no weights yet that were scored on dev", fix, str(run.path)))
    session = prepare(run.recipe())
    same_data(run, session.splits)
    session.model.load_state_dict(load_file(str(kept[-1] / checkpoints.WEIGHTS)), strict=False)
    session.task.save(session.model, folder)
    return checkpoints.step_of(kept[-1])


def convert(folder: Path, dtype: str) -> None:
    """Rewrite the floating-point tensors of a folder in another type, and note it in transformers' configuration."""
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
