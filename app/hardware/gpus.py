"""The GPUs that torch sees. torch is imported when asked."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A CUDA device. `index`: torch's number of it. `memory`: bytes. `uuid`: from torch 2.4 on, else None."""

    index: int
    name: str
    capability: tuple[int, int]
    memory: int
    uuid: str | None = None

    @property
    def architecture(self) -> str:
        """The compute capability as the compiler writes it: `sm_89` for 8.9."""
        return "sm_{}{}".format(*self.capability)


def gpu(index: int = 0) -> Gpu:
    """Return the GPU of this index. Raises RuntimeError or AssertionError, as torch does, if there is none."""
    found = importlib.import_module("torch").cuda.get_device_properties(index)
    uuid = getattr(found, "uuid", None)
    return Gpu(index, found.name, (found.major, found.minor), found.total_memory, None if uuid is None else str(uuid))


def gpus() -> tuple[Gpu, ...]:
    """Return every GPU that CUDA shows to this process; none if CUDA does not start."""
    cuda = importlib.import_module("torch").cuda
    return tuple(gpu(index) for index in range(cuda.device_count() if cuda.is_available() else 0))
