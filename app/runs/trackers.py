"""TensorBoard always, Weights & Biases and MLflow where the recipe names them; none of them can end a training.

metrics.jsonl is the record (app/runs/records.py). These are views of it for other programs: each is started at its
first number, and the first thing that goes wrong in one is said once and the end of it.

Without a key Weights & Biases writes below the run's folder, to be sent later by `wandb sync`; without
MLFLOW_TRACKING_URI so does MLflow, to be looked at with `mlflow ui --backend-store-uri RUN/mlflow`.
"""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lightning.fabric.loggers import TensorBoardLogger
from lightning.fabric.loggers.logger import Logger
from tqdm import tqdm

from app.errors import first_line
from app.runs.folder import Run
from app.runs.records import Recorder
from app.schema import Recipe

SECONDS = 20  # that a service may take to answer at the start


class Tracker(Recorder):
    """A service that is started at its first record and dropped at its first failure."""

    def __init__(self, name: str, start: Callable[[], Logger]) -> None:
        self.name, self.start = name, start
        self.logger: Logger | None = None
        self.failed = False

    def record(self, values: dict[str, float], step: int) -> None:
        self._try(lambda logger: logger.log_metrics(dict(values), step))

    def close(self) -> None:
        if self.logger:
            self._try(_finish)

    def _try(self, do: Callable[[Logger], Any]) -> None:
        if self.failed:
            return
        try:
            self.logger = self.logger or self.start()
            do(self.logger)
        except Exception as error:  # whatever a service's library may raise: the training is worth more
            self.failed = True
            reason = first_line(error)
            tqdm.write(f"warning: {self.name} failed, and the training continues without it: {reason}", file=sys.stderr)


def _finish(logger: Any) -> None:
    """Have everything written; Weights & Biases keeps the last records until its run is finished."""
    logger.finalize("success")
    if finish := getattr(logger.experiment, "finish", None):
        finish()


def trackers(recipe: Recipe, run: Run) -> list[Recorder]:
    """Return the services that show a run: TensorBoard always, others if the recipe names them."""
    starts: dict[str, Callable[[], Logger]] = {
        "tensorboard": lambda: tensorboard(run),
        "wandb": lambda: wandb(recipe, run),
        "mlflow": lambda: mlflow(recipe, run),
    }
    return [Tracker(name, starts[name]) for name in ("tensorboard", *recipe.tracking)]


def tensorboard(run: Run) -> Logger:
    """Events; what a resumed run writes again replaces what was there."""
    resumed = run.manifest().get("resumed")
    purge = resumed[-1]["step"] + 1 if resumed else None
    return TensorBoardLogger(str(run.path), name="", version="", purge_step=purge)


def wandb(recipe: Recipe, run: Run) -> Logger:
    """A run of Weights & Biases with our run's name; offline where there is no key."""
    import wandb as service
    from lightning.pytorch.loggers import WandbLogger

    offline = os.environ.get("WANDB_MODE", "online" if _wandb_key() else "offline") == "offline"
    return WandbLogger(
        project=recipe.name,
        name=run.path.name,
        version=run.path.name,  # its id: a resumed run goes on in the same one
        save_dir=str(run.path),
        offline=offline,
        config=_settings(recipe),
        resume=None if offline else "allow",
        settings=service.Settings(silent=True, console="off", init_timeout=SECONDS),
    )


def _wandb_key() -> bool:
    """Whether a key is where `wandb login` or a user puts it: the environment or the netrc file."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        known = {}
    return bool(os.environ.get("WANDB_API_KEY")) or urlsplit(server).hostname in known


def mlflow(recipe: Recipe, run: Run) -> Logger:
    """A run of MLflow; on a server where MLFLOW_TRACKING_URI names one, else in files below our run."""
    from lightning.pytorch.loggers import MLFlowLogger

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        uri = (run.path / "mlflow").resolve().as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 asks for a database unless told
    known = run.manifest().get("mlflow_run")
    tracker = MLFlowLogger(experiment_name=recipe.name, run_name=run.path.name, tracking_uri=uri, run_id=known)
    if not known:
        tracker.log_hyperparams(_settings(recipe))
        run.update(mlflow_run=tracker.run_id)
    return tracker


def _settings(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")
