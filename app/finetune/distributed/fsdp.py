"""The whole state of a model that FSDP shards: gathered for a checkpoint, and each process's part put back from one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.fsdp.api import FullOptimStateDictConfig, FullStateDictConfig, StateDictType
from torch.distributed.fsdp.fully_sharded_data_parallel import FullyShardedDataParallel
from torch.optim import Optimizer

PREFIX = "model."  # of `engine.fabric.Callee` around the model


def whole_state(module: nn.Module, optimizer: Optimizer | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights by the plain model's names and optimizer state by parameter name: on the CPU of the first process,
    empty in the others. Every process calls this."""
    with _full(module, first_process_only=True):
        weights = {name.removeprefix(PREFIX): tensor for name, tensor in module.state_dict().items()}
        return weights, FullyShardedDataParallel.optim_state_dict(module, optimizer) if optimizer else {}


def load_whole_state(
    module: nn.Module, optimizer: Optimizer, weights: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Give each process its part of what `whole_state` returned in the first one."""
    with _full(module, first_process_only=False):
        module.load_state_dict({f"{PREFIX}{name}": tensor for name, tensor in weights.items()})
        part = FullyShardedDataParallel.optim_state_dict_to_load(optim_state_dict=state, model=module, optim=optimizer)
        optimizer.load_state_dict(part)


@contextmanager
def _full(module: nn.Module, first_process_only: bool) -> Iterator[None]:
    weights = FullStateDictConfig(offload_to_cpu=True, rank0_only=first_process_only)
    optimizer = FullOptimStateDictConfig(offload_to_cpu=True, rank0_only=first_process_only)
    with FullyShardedDataParallel.state_dict_type(module, StateDictType.FULL_STATE_DICT, weights, optimizer):
        yield
