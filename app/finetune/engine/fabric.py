"""Lightning Fabric for a recipe: devices, DDP or FSDP, precision, and the one way to call a model that is wrapped."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy, FSDPStrategy, Strategy
from torch import nn

from app.finetune.distributed.processes import this_rank
from app.finetune.engine.precision import Precision, accelerator_of
from app.schema import Recipe

T = TypeVar("T")


class Callee(nn.Module):
    """A model whose forward is any function of it: `module(function, *arguments)` is `function(model, *arguments)`.

    DDP and FSDP do their work around `forward`: FSDP has the whole weights only inside it. So a task's loss and its
    predictions both run as one forward pass of the wrapped module, whatever they compute.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return `function(model, *arguments)`."""
        return function(self.model, *arguments)


def build_fabric(recipe: Recipe, precision: Precision) -> Fabric:
    """Return a launched Fabric for the processes that are there. Each has one device."""
    quiet_lightning()
    rank = this_rank()
    fabric = Fabric(
        accelerator=accelerator_of(recipe),  # not `auto`, which on a Mac is neither a CPU nor a CUDA device
        devices=rank.local_world_size,
        num_nodes=rank.world_size // rank.local_world_size,
        strategy=strategy_of(recipe),
        precision=precision.lightning,
        plugins=[TorchElasticEnvironment() if rank.world_size > 1 else LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def strategy_of(recipe: Recipe) -> str | Strategy:
    """Return Lightning's strategy for a recipe: FSDP if it says so, DDP among many processes, else one device."""
    if recipe.trainer.strategy == "fsdp":
        return FSDPStrategy()
    if this_rank().world_size == 1:
        return "auto"
    return DDPStrategy(
        find_unused_parameters=recipe.freeze.gradual is not None,  # layers that are not trained yet get no gradient
        broadcast_buffers=False,  # they are equal from the start, and an embedding's table is as large as it
    )


def wrap(fabric: Fabric, model: nn.Module) -> nn.Module:
    """Return `Callee(model)` on this process's device, inside DDP or FSDP if the strategy asks for it."""
    module = Callee(model)
    fabric.strategy.module_to_device(module)
    wrapped: nn.Module = fabric.strategy.setup_module(module)
    return wrapped


def quiet_lightning() -> None:
    """Turn off Lightning's notes about its own defaults, which are set on purpose here."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
