"""Many processes, one training: which rank this process is, and how the ranks exchange values.

A process reads its rank from the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, ...), so
`torchrun ... -m app.cli train RECIPE` works as it stands. Without torchrun `app train` starts the processes of this
machine itself, and they meet in a file: see launch.py. Everything but gradients goes over gloo, on the CPU, so that no
GPU waits for it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from app.errors import ConfigError, Problem, RunError, first_line
from app.schema import Recipe
from app.signals import STOP

T = TypeVar("T")
MEETING_FILE = "APP_MEETING_FILE"  # the variable that names the file in which `app train`'s own processes meet
PATIENCE = timedelta(minutes=30)  # torch's own for the meeting at a port; for a file it is 5
GONE = ("connection closed", "connection reset", "connection was reset", "broken pipe", "socket closed")  # gloo's words


@dataclass(frozen=True)
class Rank:
    """Which process of a training this is."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    """Processes on this machine."""

    @property
    def is_zero(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0


def this_rank() -> Rank:
    """Return the rank that torchrun, or `app train`, gave this process; 0 of 1 if neither started it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in names):
        return Rank()
    return Rank(*(int(os.environ[name]) for name in names))


def processes_to_start(recipe: Recipe) -> int:
    """Return how many processes to start on this machine: one for each device, 1 if torchrun has started them.

    Raises ConfigError if the recipe asks for more GPUs than there are, for a strategy that this hardware cannot do, or
    for several machines.
    """
    settings = recipe.trainer
    gpus = torch.cuda.device_count() if settings.accelerator != "cpu" else 0
    if settings.strategy == "fsdp" and not gpus:
        what = "trainer.strategy: fsdp shards a model over GPUs, and there is none"
        raise ConfigError(Problem(what, "say trainer.strategy=ddp"))
    if this_rank().world_size > 1:
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
def process_group(recipe: Recipe) -> Iterator[Rank]:
    """Join the other processes for the length of a block.

    Raises ConfigError if there are not as many as the recipe says, RunError if they do not find each other or one dies.
    """
    here = this_rank()
    if here.world_size == 1:
        yield here
        return
    check_number(recipe, here)
    STOP.patient = True
    on_gpu = recipe.trainer.accelerator != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(here.local_rank)
    try:
        dist.init_process_group("nccl" if on_gpu else "gloo", **_meeting(here))
        control = dist.new_group(backend="gloo") if on_gpu else None  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        file = os.environ.get(MEETING_FILE)
        place = file or f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        what = f"process {here.rank} of {here.world_size} could not meet the others at {place}: {first_line(error)}"
        fix = (
            "name a folder for temporary files on a local disk: TMPDIR=/tmp"
            if file
            else "is the port another job's? torchrun --master-port=N takes another"
        )
        raise RunError(Problem(what, fix)) from error
    for group in (dist.distributed_c10d._get_default_group(), control):  # type: ignore[no-untyped-call]
        _keep_for_life(group)
    try:
        _CONTROL[:] = [control]
        yield here
    except RuntimeError as error:
        if not any(word in str(error).lower() for word in GONE):
            raise
        what = f"process {here.rank} of {here.world_size} lost another one: {first_line(error)}"
        raise RunError(Problem(what, "see its output; `app train --resume RUN` continues")) from error
    finally:
        _CONTROL.clear()
        STOP.patient = False
        if dist.is_initialized():
            dist.destroy_process_group()


def _meeting(here: Rank) -> dict[str, Any]:
    """Return where to meet, for `init_process_group`: `app train`'s file; nothing for the port that torchrun names.

    A port would be open to the network without a password: in torch 2.0 its server listens on all interfaces.
    """
    file = os.environ.get(MEETING_FILE)
    if file is None:
        return {}
    store = dist.FileStore(file, here.world_size)  # type: ignore[attr-defined, unused-ignore]
    store.set_timeout(PATIENCE)
    return {"store": store, "rank": here.rank, "world_size": here.world_size}


def _keep_for_life(group: object) -> None:
    """Let nothing free a process group before the process ends.

    The last to hold it would be DDP's reducer. Its end runs the group's destructor under the interpreter's lock, and
    that waits for gloo's thread, which waits for the same lock to free a tensor: the process never ended.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(group))


_CONTROL: list[Any] = []  # the gloo group for everything but gradients; empty: the default group


def check_number(recipe: Recipe, here: Rank) -> None:
    """Raise ConfigError if the processes that were started are not those that the recipe asks for."""
    asked, nodes = recipe.trainer.devices, recipe.trainer.nodes
    if asked not in ("auto", here.local_world_size):
        what = f"trainer.devices: {asked}, but {here.local_world_size} processes were started on this machine"
        raise ConfigError(Problem(what, f"start torchrun with --nproc-per-node={asked}, or say trainer.devices=auto"))
    if nodes not in (1, here.world_size // here.local_world_size):
        what = f"trainer.nodes: {nodes}, but torchrun was started on {here.world_size // here.local_world_size}"
        raise ConfigError(Problem(what, f"start torchrun with --nnodes={nodes}"))


def broadcast_from_rank0(make: Callable[[], T]) -> T:
    """Call `make` in the first process only, and return its result in all of them."""
    here = this_rank()
    if here.world_size == 1:
        return make()
    found: list[Any] = [make() if here.is_zero else None]
    dist.broadcast_object_list(found, group=_group())
    value: T = found[0]
    return value


def all_gather(value: T) -> list[T]:
    """Return the value of each process, in the order of their ranks."""
    if not _many():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def all_reduce_sum(*values: float) -> list[float]:
    """Return each value summed over the processes."""
    return _reduced(values, dist.ReduceOp.SUM)


def all_reduce_max(value: float) -> float:
    """Return the highest value of all processes."""
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
