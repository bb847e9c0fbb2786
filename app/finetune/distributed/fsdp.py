"""FSDP through Lightning, with this package's checkpoints: Lightning's own strategy would read them by `torch.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import FSDPStrategy
from torch.distributed.fsdp.api import FullOptimStateDictConfig, FullStateDictConfig, StateDictType
from torch.distributed.fsdp.fully_sharded_data_parallel import FullyShardedDataParallel, OptimStateKeyType

from app.runs import checkpoints


class Sharded(FSDPStrategy):
    """Weights, gradients and optimizer spread over the GPUs; a checkpoint holds them whole, as that of one GPU does."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: Any = None) -> dict[str, Any]:
        """Give each process its part of a whole checkpoint; what is neither weights nor optimizer is returned."""
        checkpoint = checkpoints.load(Path(checkpoint_path))
        model, whole = self.model, StateDictType.FULL_STATE_DICT
        kinds = (FullStateDictConfig(rank0_only=False), FullOptimStateDictConfig(rank0_only=False))
        with FullyShardedDataParallel.state_dict_type(model, whole, *kinds):
            model.load_state_dict(checkpoint.pop("state_dict"))
            for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"]):
                # Lightning saves the state of a parameter by its number, and FSDP takes it by its name.
                named = FullyShardedDataParallel.rekey_optim_state_dict(state, OptimStateKeyType.PARAM_NAME, model)
                part = FullyShardedDataParallel.optim_state_dict_to_load(
                    optim_state_dict=named, model=model, optim=optimizer
                )
                optimizer.load_state_dict(part)
        return checkpoint
