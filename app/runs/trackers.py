"""Trackers: TensorBoard always, Weights & Biases and MLflow if the recipe names them. None can end a training.

metrics.jsonl holds the records (app/runs/records.py); trackers show them in other programs. A tracker is started at
its first record. At its first failure it prints one warning and gets no more records.

Without a key Weights & Biases writes into the run's folder, and `wandb sync` sends it later. Without
MLFLOW_TRACKING_URI MLflow does the same, and `mlflow ui --backend-store-uri RUN/mlflow` shows it.
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

SECONDS = 20  # a service may take to answer when it starts


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
        except Exception as error:  # whatever a service's library raises must not end the training
            self.failed = True
            reason = first_line(error)
            tqdm.write(f"warning: {self.name} failed, and the training continues without it: {reason}", file=sys.stderr)


def _finish(logger: Any) -> None:
    """Write everything out; Weights & Biases keeps the last records until its run is finished."""
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
    """Return a logger of TensorBoard events; events that a resumed run writes again replace the old ones."""
    resumed = run.manifest().get("resumed")
    purge = resumed[-1]["step"] + 1 if resumed else None
    return TensorBoardLogger(str(run.path), name="", version="", purge_step=purge)


def wandb(recipe: Recipe, run: Run) -> Logger:
    """Return a logger to a run of Weights & Biases with our run's name, offline without a key."""
    import wandb as service
    from lightning.pytorch.loggers import WandbLogger

    offline = os.environ.get("WANDB_MODE", "online" if _wandb_key() else "offline") == "offline"
    return WandbLogger(
        project=recipe.name,
        name=run.path.name,
        version=run.path.name,  # its id: a resumed run continues the same one
        save_dir=str(run.path),
        offline=offline,
        config=_settings(recipe),
        resume=None if offline else "allow",
        settings=service.Settings(silent=True, console="off", init_timeout=SECONDS),
    )


def _wandb_key() -> bool:
    """Return whether there is a key in the places that wandb reads: the environment and the netrc file."""
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        known = {}
    return bool(os.environ.get("WANDB_API_KEY")) or urlsplit(server).hostname in known


def mlflow(recipe: Recipe, run: Run) -> Logger:
    """Return a logger to a run of MLflow: on the server of MLFLOW_TRACKING_URI, else in files in our run's folder."""
    from lightning.pytorch.loggers import MLFlowLogger

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(SECONDS))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        uri = (run.path / "mlflow").resolve().as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3 wants a database otherwise
    known = run.manifest().get("mlflow_run")
    tracker = MLFlowLogger(experiment_name=recipe.name, run_name=run.path.name, tracking_uri=uri, run_id=known)
    if not known:
        tracker.log_hyperparams(_settings(recipe))
        run.update(mlflow_run=tracker.run_id)
    return tracker


def _settings(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")
