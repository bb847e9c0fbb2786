"""What happens between two optimizer steps: evaluating on dev, keeping checkpoints, and stopping when asked to.

A checkpoint always stands between two optimizer steps. What changes during a step without being part of a step's
result (random generators, running statistics, sums for the records) is remembered at each such place, so that a signal
in the middle of a long step can still write it.
"""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import Tensor, nn

from app import fileio
from app.errors import Problem, RunError
from app.finetune.distributed import processes
from app.finetune.engine import rng
from app.finetune.engine.module import FineTuning
from app.finetune.engine.position import OURS, Position, at_rest
from app.finetune.engine.progress import Watch
from app.finetune.engine.signals import STOP, Stopped
from app.runs import checkpoints
from app.runs.disk import writing
from app.runs.folder import Run

KEPT = 2  # the newest, and the one before it should the newest turn out to be damaged


@dataclass(frozen=True)
class Boundary:
    """A place between two optimizer steps, and what else is needed to go on from it exactly."""

    position: Position
    random: rng.States
    loss: tuple[Tensor, float]
    """Sum and weight of the training loss since the last record."""
    watch: dict[str, Any]
    records: int
    """Bytes of metrics.jsonl that were written when the training stood here."""
    statistics: dict[str, Tensor]
    """Copies of what a forward pass changes in the model."""


class Keep(Callback):
    """Evaluates every `evaluate_every` optimizer steps, or after each epoch, and at the end; saves every `save_every`
    steps, or after each evaluation, and at the end."""

    def __init__(self, run: Run, watch: Watch, evaluate_every: int | None, save_every: int | None) -> None:
        self.run, self.watch = run, watch
        self.evaluate_every, self.save_every = evaluate_every, save_every
        self.best: dict[str, float] = {}
        """Step and scores of the best evaluation so far."""
        self.boundary: Boundary | None = None
        self.resumed: dict[str, Any] | None = None
        self.statistics: dict[str, Tensor] = {}
        """What a forward pass changes in the model: running means of batch norms."""
        self.saved = -1
        """Step of the newest checkpoint."""

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.resumed = checkpoint[OURS]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FineTuning)
        STOP.take_over()
        norms = [(n, m) for n, m in pl_module.model.named_modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        self.statistics = {f"{n}.{name}": buffer for n, m in norms for name, buffer in m.named_buffers(recurse=False)}
        if trainer.world_size > 1:
            STOP.hold()  # processes that wait for each other must stop at the same place: see _agree
        position = Position()
        if self.resumed:
            position, processes = Position(**self.resumed["position"]), self.resumed["processes"]
            if len(processes) != trainer.world_size:
                what = f"the checkpoint was written by {len(processes)} processes, these are {trainer.world_size}"
                raise RunError(Problem(what, "resume with as many devices as before", str(self.run.path)))
            ours = processes[trainer.global_rank]
            pl_module.loss_sum, pl_module.loss_weight = ours["loss"]
            self.watch.count_on(ours["watch"])
            rng.restore(ours["random"])
            self.saved = position.step
        self.boundary = self._here(pl_module, position)
        if position.evaluation_due:
            self._evaluate(trainer)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        STOP.hold()  # released at the end of the batch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, FineTuning) and self.boundary is not None
        if trainer.global_step == self.boundary.position.step:  # within an accumulation
            STOP.check()
            return
        epoch_ends = batch_idx + 1 == trainer.num_training_batches
        last = trainer.global_step >= pl_module.steps
        due = trainer.global_step % self.evaluate_every == 0 if self.evaluate_every else epoch_ends
        position = Position(
            epoch=trainer.current_epoch + epoch_ends,
            batch=0 if epoch_ends else batch_idx + 1,
            batches=trainer.fit_loop.total_batch_idx + 1,
            step=trainer.global_step,
            evaluation_due=due or last,
        )
        self.boundary = self._here(pl_module, position)
        STOP.release()
        self._agree(trainer)
        if position.evaluation_due:
            self._evaluate(trainer)
        if last or (position.step % self.save_every == 0 if self.save_every else position.evaluation_due):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            STOP.release()

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        self._agree(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FineTuning) and pl_module.scores is not None
        task, values = pl_module.task, pl_module.scores.values
        sign = 1.0 if task.higher_is_better else -1.0
        best = self.best.get(task.monitor, math.nan)
        if math.isnan(best) or sign * values[task.monitor] > sign * best:  # nothing is greater than nan
            self.best = {**values, "step": float(trainer.global_step)}
            self._save_best(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Stopped) or self.boundary is None:
            return
        STOP.hold()  # for good: this process is ending
        self._save(trainer)
        if trainer.is_global_zero:
            print(
                f"\nstopped by {exception} at step {self.boundary.position.step}; "
                f"`app train --resume {self.run.path}` goes on from there",
                file=sys.stderr,
            )

    def load_best(self, module: FineTuning) -> None:
        """Put the best weights back into the model."""
        if self.best:
            path = self.run.checkpoints / f"best-{int(self.best['step']):08d}" / checkpoints.WEIGHTS
            module.model.load_state_dict(load_file(str(path)), strict=False)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Lightning's picture of this moment, corrected to the last place between two steps."""
        here = self.boundary
        assert here is not None
        checkpoint["loops"]["fit_loop"] = at_rest(checkpoint["loops"]["fit_loop"], here.position)
        checkpoint["epoch"], checkpoint["global_step"] = here.position.epoch, here.position.step
        checkpoint["state_dict"].update({f"model.{name}": tensor for name, tensor in here.statistics.items()})
        ours = {"random": rng.storable(here.random), "loss": (here.loss[0].cpu(), here.loss[1]), "watch": here.watch}
        checkpoint[OURS] = {
            "position": asdict(here.position),
            "records": here.records,
            "processes": processes.gathered(ours),
        }

    def _here(self, module: FineTuning, position: Position) -> Boundary:
        return Boundary(
            position,
            rng.capture(),
            (module.loss_sum, module.loss_weight),
            self.watch.counted(),
            self._records(),
            {name: buffer.clone() for name, buffer in self.statistics.items()},
        )

    def _records(self) -> int:
        return self.run.metrics.stat().st_size if self.run.metrics.is_file() else 0

    def _agree(self, trainer: pl.Trainer) -> None:
        """Stop where a signal came; of many processes all at once, when one of them got it."""
        if trainer.world_size == 1:
            STOP.check()
        elif signum := int(processes.highest(STOP.signum)):
            raise Stopped(signum)

    def _evaluate(self, trainer: pl.Trainer) -> None:
        """Run Lightning's evaluation loop now. Its own schedule counts micro-batches, and after a resume some releases
        repeat an evaluation and some leave one out; here one falls on an optimizer step and happens once."""
        assert self.boundary is not None
        seen = trainer._logger_connector._first_loop_iter  # as Lightning does where it evaluates by its own schedule
        with rng.kept(), self.watch.aside():
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True
        trainer._logger_connector._first_loop_iter = seen
        done = replace(self.boundary.position, evaluation_due=False)
        self.boundary = replace(self.boundary, position=done, records=self._records())

    def _save(self, trainer: pl.Trainer) -> None:
        assert self.boundary is not None
        step = self.boundary.position.step
        if step == self.saved:
            return
        with STOP.holding(), self.watch.aside():
            trainer.save_checkpoint(self.run.checkpoints / f"step-{step:08d}")
            self.saved = step
            if trainer.is_global_zero:
                self._prune()

    def _prune(self) -> None:
        """Remove checkpoints beyond the newest few, and the best weights that none of those refers to."""
        steps = checkpoints.steps(self.run.checkpoints)
        for old in steps[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        oldest = checkpoints.step_of(steps[-KEPT:][0])
        bests = checkpoints.bests(self.run.checkpoints)
        of_oldest = [best for best in bests if checkpoints.step_of(best) <= oldest]
        for old in of_oldest[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def _save_best(self, trainer: pl.Trainer) -> None:
        state = trainer.strategy.lightning_module_state_dict()  # from every process, where the weights are spread out
        path = self.run.checkpoints / f"best-{int(self.best['step']):08d}"
        if not trainer.is_global_zero or path.exists():
            return
        weights = {name.partition(".")[2]: tensor.detach().contiguous() for name, tensor in state.items()}
        with STOP.holding(), writing(path.name, self.run.path), fileio.new_folder(path) as building:
            checkpoints.write_tensors(_unshared(weights), building / checkpoints.WEIGHTS)
            fileio.write_json(building / "scores.json", self.best)


def _unshared(state: dict[str, Any]) -> dict[str, Any]:
    """One name for each storage: tied weights are written once and tied again by the model that loads them."""
    seen: dict[int, str] = {}
    return {name: tensor for name, tensor in state.items() if seen.setdefault(tensor.data_ptr(), name) == name}
