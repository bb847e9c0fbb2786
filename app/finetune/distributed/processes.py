"""Many processes, one training: who this process is, how it talks to the others, and starting them on this machine.

A process reads its place from the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, ...), so
`torchrun ... -m app.cli train RECIPE` works as it stands. Without torchrun `app train` starts the processes of this
machine itself: see launch.py. What they agree on beside gradients goes over gloo, on the CPU: no GPU waits for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from app.errors import ConfigError, Problem, RunError, first_line
from app.finetune.engine.signals import STOP
from app.schema import Recipe

T = TypeVar("T")
GONE = ("connection closed", "connection reset", "connection was reset", "broken pipe", "socket closed")  # gloo's words


@dataclass(frozen=True)
class Place:
    """Who this process is among those of a training."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0


def place() -> Place:
    """The place that torchrun, or `app train`, gave this process; alone where there is none."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in names):
        return Place()
    return Place(*(int(os.environ[name]) for name in names))


def to_start(recipe: Recipe) -> int:
    """Processes that are to be started on this machine: one a device; 1 where torchrun has started them. Raises
    ConfigError for more GPUs than there are, for a strategy that this hardware cannot do, and for many machines."""
    settings = recipe.trainer
    gpus = torch.cuda.device_count() if settings.accelerator != "cpu" else 0
    if settings.strategy == "fsdp" and not gpus:
        what = "trainer.strategy: fsdp splits a model over GPUs, and there is none"
        raise ConfigError(Problem(what, "say trainer.strategy=ddp"))
    if place().world > 1:
        return 1
    if settings.nodes > 1:
        start = f"torchrun --nnodes={settings.nodes} --nproc-per-node=N --rdzv-backend=c10d --rdzv-endpoint=HOST:29500"
        what = f"trainer.nodes: {settings.nodes}: processes on other machines cannot be started from here"
        raise ConfigError(Problem(what, f"on each of them: {start} -m app.cli train ..."))
    if settings.devices == "auto":
        return max(1, gpus)
    if gpus and settings.devices > gpus:
        raise ConfigError(
            Problem(f"trainer.devices: {settings.devices} GPUs, but torch sees {gpus}", "say trainer.devices=auto")
        )
    return settings.devices


@contextmanager
def joined(recipe: Recipe) -> Iterator[Place]:
    """Meet the other processes for the length of a block. Raises ConfigError where there are not as many as the recipe
    says, RunError where they do not find each other or where one is gone."""
    here = place()
    if here.world == 1:
        yield here
        return
    check_number(recipe, here)
    STOP.patient = True
    on_gpu = recipe.trainer.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(here.local_rank)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo")
        control = dist.new_group(backend="gloo") if on_gpu else None  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        meeting = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        what = f"process {here.rank} of {here.world} could not meet the others at {meeting}: {first_line(error)}"
        fix = "is the port another job's? torchrun --master-port=N takes another"
        raise RunError(Problem(what, fix)) from error
    try:
        _CONTROL[:] = [control]
        yield here
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in GONE):
            raise
        what = f"process {here.rank} of {here.world} lost another one: {first_line(error)}"
        raise RunError(Problem(what, "see what that one said; `app train --resume RUN` goes on")) from error
    finally:
        _CONTROL.clear()
        STOP.patient = False
        if dist.is_initialized():
            dist.destroy_process_group()


_CONTROL: list[Any] = []  # the gloo group for what is said beside gradients; empty: the default group


def check_number(recipe: Recipe, here: Place) -> None:
    """Raise ConfigError where the processes that were started are not those that the recipe asks for."""
    asked, nodes = recipe.trainer.devices, recipe.trainer.nodes
    if asked not in ("auto", here.local_world):
        what = f"trainer.devices: {asked}, but {here.local_world} processes were started on this machine"
        raise ConfigError(Problem(what, f"start torchrun with --nproc-per-node={asked}, or say trainer.devices=auto"))
    if nodes not in (1, here.world // here.local_world):
        what = f"trainer.nodes: {nodes}, but torchrun was started on {here.world // here.local_world}"
        raise ConfigError(Problem(what, f"start torchrun with --nnodes={nodes}"))


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns in the first process, in all of them; it is called in that one only."""
    here = place()
    if here.world == 1:
        return make()
    found: list[Any] = [make() if here.first else None]
    dist.broadcast_object_list(found, group=_group())
    value: T = found[0]
    return value


def gathered(value: T) -> list[T]:
    """The value of each process, in the order of their ranks, in all of them."""
    if not _many():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def summed(*values: float) -> list[float]:
    """Each value summed over the processes."""
    return _reduced(values, dist.ReduceOp.SUM)


def highest(value: float) -> float:
    """The highest value of all processes."""
    return _reduced((value,), dist.ReduceOp.MAX)[0]


def _reduced(values: tuple[float, ...], how: Any) -> list[float]:
    if not _many():
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(tensor, how, group=_group())
    return [float(value) for value in tensor]


def _many() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _group() -> Any:
    return _CONTROL[0] if _CONTROL else None
