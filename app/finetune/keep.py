"""Keeping checkpoints while training goes: the newest two to resume from, and the weights that are best on dev."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file, save_file

from app import atomic
from app.finetune.module import FineTuning
from app.runs import checkpoints

KEPT = 2  # the newest, and the one before it should the newest turn out to be damaged


class Keep(Callback):
    """Saves at each evaluation, and every `every` steps where set."""

    def __init__(self, folder: Path, every: int | None) -> None:
        self.folder, self.every = folder, every
        self.best: dict[str, float] = {}
        """Step and scores of the best evaluation so far."""
        self.saved_at = -1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.every and trainer.global_step % self.every == 0 and trainer.global_step != self.saved_at:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FineTuning) and pl_module.scores is not None
        task, values = pl_module.task, pl_module.scores.values
        sign = 1.0 if task.higher_is_better else -1.0
        if not self.best or sign * values[task.monitor] > sign * self.best[task.monitor]:
            self.best = {**values, "step": float(trainer.global_step)}
            if trainer.is_global_zero:
                self._save_best(pl_module)
        if not self.every:
            self._save(trainer)

    def load_best(self, module: FineTuning) -> None:
        """Put the best weights back into the model."""
        if self.best:
            module.model.load_state_dict(load_file(str(self.folder / "best" / "model.safetensors")), strict=False)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def _save(self, trainer: pl.Trainer) -> None:
        self.saved_at = trainer.global_step
        path = self.folder / f"step-{trainer.global_step:08d}"
        if not path.exists():
            trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            for old in checkpoints.steps(self.folder)[:-KEPT]:
                checkpoints.SafeCheckpoints().remove_checkpoint(old)

    def _save_best(self, module: FineTuning) -> None:
        best = self.folder / "best"
        state = {name: tensor.detach().contiguous() for name, tensor in module.model.state_dict().items()}
        best.mkdir(parents=True, exist_ok=True)
        scratch = best / ".model.safetensors"
        save_file(_unshared(state), str(scratch))
        scratch.replace(best / "model.safetensors")
        atomic.write_json(best / "scores.json", {k: v if math.isfinite(v) else None for k, v in self.best.items()})


def _unshared(state: dict[str, Any]) -> dict[str, Any]:
    """One name for each storage: tied weights are written once and tied again by the model that loads them."""
    seen: dict[int, str] = {}
    return {name: tensor for name, tensor in state.items() if seen.setdefault(tensor.data_ptr(), name) == name}
