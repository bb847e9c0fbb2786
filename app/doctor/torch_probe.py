"""What the checks ask of torch, answered in plain numbers. torch is imported by the first question.

A fault of the environment is an exception of torch here; the checks turn its text into a failure.
"""

from __future__ import annotations

import gc
import importlib
import weakref
from dataclasses import dataclass
from typing import Any

from app.doctor.reference_kernels import REFERENCE_KERNELS, KernelRun, difference, time_twice
from app.hardware import versions
from app.hardware.gpus import Gpu, gpus
from app.host.world import World


@dataclass(frozen=True)
class TorchBuild:
    """How torch was built, and the file it was loaded from. `cuda`: None for a build without CUDA."""

    version: str
    cuda: str | None
    archs: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class MemoryUse:
    """Bytes held on a device before the steps, while their tensors exist and after their release; then free bytes."""

    before: int
    during: int
    after: int
    free: int


class StepMissingError(Exception):
    """A step needs what an earlier step did not leave."""


class TorchProbe:
    """Torch in this process. Steps 7 to 10 of the doctor share one: each uses the tensors that the one before left."""

    def __init__(self) -> None:
        self._placed: tuple[Any, Any] | None = None
        self._product: Any = None
        self._before = 0
        self._during = 0

    @property
    def torch(self) -> Any:
        """Return the module, untyped: its stubs lack half of what is asked here, and releases differ."""
        return importlib.import_module("torch")

    def build(self) -> TorchBuild:
        """Return how torch was built."""
        cuda = versions.cuda_version()
        # get_arch_list() is empty without a GPU; the flags are what was compiled.
        archs = self.torch._C._cuda_getArchFlags() if cuda else ""
        return TorchBuild(versions.torch_version(), cuda, tuple((archs or "").split()), str(self.torch.__file__))

    def cudnn(self) -> tuple[int, int] | None:
        """Return the cuDNN versions (compiled against, loaded), 8700 for 8.7.0; None if torch has no cuDNN.

        Raises RuntimeError if the two are incompatible.
        """
        compiled = versions.cudnn_compiled_version()
        return None if compiled is None else (compiled, versions.cudnn_version() or 0)

    def nccl(self) -> str | None:
        """Return NCCL's version; None if this torch has none."""
        return versions.nccl_version()

    def gpus(self) -> tuple[Gpu, ...]:
        """Return the GPUs that CUDA shows; none if it does not start."""
        return gpus()

    def cuda_error(self) -> str:
        """Return the error of CUDA's initialization; empty if it succeeds."""
        try:
            self.torch.cuda.init()
        except Exception as error:
            return str(error)
        return ""

    def gpu_has_bf16(self) -> bool:
        """Return whether the current GPU multiplies bfloat16."""
        return bool(self.torch.cuda.is_bf16_supported())

    def pairs_without_peer_access(self) -> list[tuple[int, int]]:
        """Return the pairs of GPUs that cannot read each other's memory directly."""
        cuda = self.torch.cuda
        pairs = [(a, b) for a in range(cuda.device_count()) for b in range(a + 1, cuda.device_count())]
        return [(a, b) for a, b in pairs if not cuda.can_device_access_peer(a, b)]

    def free_memory(self, index: int) -> int:
        """Return the free bytes of a GPU's memory."""
        return int(self.torch.cuda.mem_get_info(index)[0])

    def compiler_obstacle(self) -> str | None:
        """Return why torch.compile cannot work with this Python; None if it can."""
        from app.compat import compiler_obstacle

        return compiler_obstacle()

    def numpy_version(self) -> str:
        """Return numpy's version, after a tensor went to numpy and back. Raises RuntimeError if its values changed."""
        torch = self.torch
        numpy = importlib.import_module("numpy")
        tensor = torch.arange(4.0)
        if not torch.equal(torch.from_numpy(tensor.numpy() * 2), tensor * 2):
            raise RuntimeError("a tensor came back from numpy with other values")
        return str(numpy.__version__)

    def memory_maps(self, device: str) -> str:
        """Return /proc/self/maps after a convolution, which loads the last of CUDA's libraries."""
        torch = self.torch
        image, kernel = torch.ones(1, 1, 8, 8, device=device), torch.ones(1, 1, 3, 3, device=device)
        torch.nn.functional.conv2d(image, kernel).sum().item()
        return World().read("/proc/self/maps") or ""

    # -- steps 7 to 10

    def place(self, device: str, size: int) -> bool:
        """Copy two (size, size) float32 matrices to the device; return whether they come back bit for bit."""
        torch = self.torch
        generator = torch.Generator().manual_seed(0)
        host = [torch.randn(size, size, generator=generator) for _ in range(2)]
        self._before = self._allocated(device)
        # Copied on the CPU too: release() must not count tensors that this function holds.
        self._placed = (host[0].to(device, copy=True), host[1].to(device, copy=True))
        return all(torch.equal(there.cpu(), here) for there, here in zip(self._placed, host))

    def multiply(self) -> tuple[float, float]:
        """Multiply the placed matrices twice; return the seconds of each. Raises StepMissingError without them."""
        if self._placed is None:
            raise StepMissingError("no tensors were placed")
        a, b = self._placed
        self._product, first, again = time_twice(lambda: a @ b, str(a.device))
        self._during = self._allocated(str(a.device))
        return first, again

    def product_error(self) -> float:
        """Return the product's largest difference from float64 on the CPU, relative to the largest entry.

        Raises StepMissingError if nothing was multiplied.
        """
        if self._placed is None or self._product is None:
            raise StepMissingError("no kernel has run")
        a, b = (x.cpu().double() for x in self._placed)
        return difference(self._product, a @ b)

    def release(self) -> MemoryUse:
        """Release the tensors of steps 7 to 9; return the memory in use. Raises StepMissingError if there are none."""
        if self._placed is None:
            raise StepMissingError("no tensors were placed")
        device = str(self._placed[0].device)
        left = [weakref.ref(t) for t in (*self._placed, self._product) if t is not None]
        self._placed = self._product = None
        gc.collect()
        if device == "cpu":
            after = sum(_bytes(t) for ref in left if (t := ref()) is not None)
            return MemoryUse(self._before, self._during, after, _available())
        cuda = self.torch.cuda
        cuda.synchronize()
        cuda.empty_cache()
        return MemoryUse(self._before, self._during, self._allocated(device), int(cuda.mem_get_info(device)[0]))

    def _allocated(self, device: str) -> int:
        """Return the bytes in use: on a GPU as CUDA's allocator counts them, on the CPU those of the steps' tensors."""
        if device == "cpu":
            return sum(_bytes(t) for t in (*(self._placed or ()), self._product) if t is not None)
        return int(self.torch.cuda.memory_allocated(device))

    # -- the kernels

    def run_kernel(self, name: str, device: str) -> KernelRun:
        """Run one of `REFERENCE_KERNELS` on the device and compare it with float64 on the CPU."""
        return REFERENCE_KERNELS[name](device)


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


def _available() -> int:
    """Return the bytes of main memory that can be had without swapping; 0 if the kernel does not report it."""
    lines = (World().read("/proc/meminfo") or "").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
