"""Where a training stands between two optimizer steps, and its checkpoints: written, pruned, read back.

A checkpoint always stands between two optimizer steps. What changes during a step without being part of its result
(random generators, running statistics, sums for the records) is kept in a `Snapshot` at each such place, so that a
signal in the middle of a long step can still write the checkpoint of its beginning.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file
from torch import Tensor, nn

from app import fileio
from app.finetune.distributed import processes
from app.finetune.engine import rng
from app.finetune.tasks.base import Scores
from app.runs import checkpoints
from app.runs.disk import disk_errors
from app.runs.folder import Run

if TYPE_CHECKING:
    from app.finetune.engine.loop import TrainingStep

KEPT = 2  # the newest, and the one before it in case the newest turns out to be damaged


@dataclass(frozen=True)
class Position:
    """A place between two optimizer steps."""

    epoch: int = 0
    batch: int = 0
    """Micro-batches of this epoch that are done; never all of them, that is batch 0 of the next epoch."""
    step: int = 0
    """Optimizer steps done."""
    evaluation_due: bool = False
    """Whether dev is still to be evaluated here."""


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    step: int = -1
    scores: dict[str, float] = field(default_factory=dict)
    evaluations_since: int = 0
    """Evaluations after it, none of which was better."""

    def updated(self, scores: Scores, step: int, monitor: str, higher_is_better: bool) -> Best:
        """Return the best after one more evaluation. A score that is not a number is never better."""
        old, new = self.scores.get(monitor, math.nan), scores.values[monitor]
        sign = 1.0 if higher_is_better else -1.0
        if math.isnan(old) or sign * new > sign * old:
            return Best(step, dict(scores.values))
        return replace(self, evaluations_since=self.evaluations_since + 1)


@dataclass(frozen=True)
class Snapshot:
    """A place between two optimizer steps, and what a checkpoint of it needs beyond weights and optimizer."""

    position: Position
    best: Best
    random: rng.States
    loss: tuple[Tensor, float]
    """Sum and weight of the training loss since the last record."""
    counters: dict[str, Any]
    """Those of the progress: examples, tokens and seconds."""
    records: int
    """Bytes of metrics.jsonl when the training stood here."""
    statistics: list[Tensor]
    """Copies of the buffers that a forward pass changes: the running statistics of batch norms."""


class Checkpointer:
    """Writes the checkpoints and the best weights of a run, and keeps the newest few."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.saved = -1
        """Step of the newest checkpoint."""

    def save(self, step: TrainingStep, snapshot: Snapshot) -> None:
        """Write a checkpoint, unless the step has one. Every process calls this; the first one writes."""
        number = snapshot.position.step
        if number == self.saved:
            return
        weights, optimizer = whole_state(step)
        weights.update(zip(_statistics_names(step), snapshot.statistics))
        scaler = getattr(step.fabric.strategy.precision, "scaler", None)
        checkpoint = {
            "weights": weights,
            "optimizer": optimizer,
            "loss_scale": scaler.state_dict() if scaler else None,
            "position": asdict(snapshot.position),
            "best": asdict(snapshot.best),
            "records": snapshot.records,
            "processes": processes.all_gather(
                {
                    "random": rng.storable(snapshot.random),
                    "loss": (snapshot.loss[0].cpu(), snapshot.loss[1]),
                    "counters": snapshot.counters,
                }
            ),
        }
        if step.fabric.is_global_zero:
            checkpoints.save(checkpoint, self.run.checkpoints / f"step-{number:08d}")
            self._prune()
        self.saved = number

    def load(self, path: Path, step: TrainingStep) -> list[Snapshot]:
        """Put weights and optimizer back, and return the snapshot of each process."""
        checkpoint = checkpoints.load(path)
        load_whole_state(step, checkpoint["weights"], checkpoint["optimizer"])
        scaler = getattr(step.fabric.strategy.precision, "scaler", None)
        if scaler and checkpoint["loss_scale"]:
            scaler.load_state_dict(checkpoint["loss_scale"])
        self.saved = checkpoint["position"]["step"]
        return [
            Snapshot(
                position=Position(**checkpoint["position"]),
                best=Best(**checkpoint["best"]),
                random=process["random"],
                loss=process["loss"],
                counters=process["counters"],
                records=checkpoint["records"],
                statistics=[],
            )
            for process in checkpoint["processes"]
        ]

    def save_best(self, step: TrainingStep, best: Best) -> None:
        """Write the weights as they are now as the best. Every process calls this; the first one writes."""
        weights, _ = whole_state(step, optimizer=False)
        path = self.run.checkpoints / f"best-{best.step:08d}"
        if not step.fabric.is_global_zero or path.exists():
            return
        with disk_errors(path.name, self.run.path), fileio.new_folder(path) as building:
            contiguous = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
            checkpoints.write_tensors(_each_storage_once(contiguous), building / checkpoints.WEIGHTS)
            fileio.write_json(building / "scores.json", {**best.scores, "step": best.step})

    def load_best(self, model: nn.Module, best: Best) -> None:
        """Put the best weights back into a model that is not wrapped."""
        if best.step >= 0:
            path = self.run.checkpoints / f"best-{best.step:08d}" / checkpoints.WEIGHTS
            model.load_state_dict(load_file(str(path)), strict=False)

    def _prune(self) -> None:
        """Remove checkpoints beyond the newest few, and best weights that none of those refers to."""
        steps = checkpoints.steps(self.run.checkpoints)
        for old in steps[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        oldest = checkpoints.step_of(steps[-KEPT:][0])
        bests = checkpoints.bests(self.run.checkpoints)
        for old in [best for best in bests if checkpoints.step_of(best) <= oldest][:-1]:
            shutil.rmtree(old, ignore_errors=True)


def whole_state(step: TrainingStep, optimizer: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the whole weights, by the names of the plain model, and the whole optimizer state. FSDP gathers them from
    every process, and gives them to the first one alone."""
    if step.recipe.trainer.strategy == "fsdp":
        from app.finetune.distributed import fsdp  # a second of imports that few trainings need

        return fsdp.whole_state(step.module, step.optimizer if optimizer else None)
    return dict(step.model.state_dict()), step.optimizer.state_dict() if optimizer else {}


def load_whole_state(step: TrainingStep, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
    """Put back what `whole_state` returned; under FSDP each process takes its part."""
    if step.recipe.trainer.strategy == "fsdp":
        from app.finetune.distributed import fsdp

        fsdp.load_whole_state(step.module, step.optimizer, weights, optimizer)
        return
    step.model.load_state_dict(weights)
    step.optimizer.load_state_dict(optimizer)


def _statistics_names(step: TrainingStep) -> list[str]:
    """Names of the buffers in `Snapshot.statistics`, in its order."""
    names = {id(module): name for name, module in step.model.named_modules()}
    return [f"{names[id(norm)]}.{name}" for norm in step.norms for name, _ in norm.named_buffers(recurse=False)]


def _each_storage_once(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return one name for each storage: tied weights are written once and tied again by the model that loads them."""
    seen: dict[int, str] = {}
    return {name: tensor for name, tensor in state.items() if seen.setdefault(tensor.data_ptr(), name) == name}
