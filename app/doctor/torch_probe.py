"""The seam to torch: everything the inside checks want from it, as plain numbers. torch is imported when first asked.

A fault of the environment surfaces here as an exception of torch; the checks turn its text into their finding.
"""

from __future__ import annotations

import gc
import importlib
import weakref
from dataclasses import dataclass
from typing import Any

from app.doctor.reference_kernels import REFERENCE_KERNELS, KernelRun, difference, measure
from app.host.world import World


@dataclass(frozen=True)
class Build:
    """What torch was built as, and the file it was loaded from. `cuda` is None for a build without."""

    version: str
    cuda: str | None
    archs: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Card:
    """A GPU that torch sees; bytes."""

    index: int
    name: str
    capability: tuple[int, int]
    total: int


@dataclass(frozen=True)
class Held:
    """Bytes of device memory: before, while the tensors were there, after they were released, free on the device."""

    before: int
    during: int
    after: int
    free: int


class StepMissingError(Exception):
    """A step wants what an earlier step did not leave."""


class TorchProbe:
    """torch of this process. The steps 7 to 10 hand their tensors on through it."""

    def __init__(self) -> None:
        self._placed: tuple[Any, Any] | None = None
        self._product: Any = None
        self._before = 0
        self._during = 0

    @property
    def torch(self) -> Any:
        """The module, untyped: half of what is asked here is not in its stubs, and differs between releases."""
        return importlib.import_module("torch")

    def build(self) -> Build:
        torch = self.torch
        cuda = torch.version.cuda
        # get_arch_list() is empty without a GPU; the flags are what was compiled.
        archs = torch._C._cuda_getArchFlags() if cuda else ""
        return Build(str(torch.__version__), cuda, tuple((archs or "").split()), str(torch.__file__))

    def cudnn(self) -> tuple[int, int] | None:
        """(compiled against, loaded), 8700 for 8.7.0; None where torch has no cuDNN. torch raises where they clash."""
        torch = self.torch
        if not torch.version.cuda or not hasattr(torch._C, "_cudnn"):
            return None
        major, minor, patch = torch._C._cudnn.getCompileVersion()
        # cuDNN 9 packs its version with 10000 for the major number, 8 with 1000.
        packed = major * (10000 if major >= 9 else 1000) + minor * 100 + patch
        return packed, int(torch.backends.cudnn.version() or 0)

    def nccl(self) -> str | None:
        """NCCL's version, or None where this torch has none."""
        torch = self.torch
        return ".".join(map(str, torch.cuda.nccl.version())) if hasattr(torch._C, "_nccl_version") else None

    def cards(self) -> tuple[Card, ...]:
        """The GPUs that CUDA shows; none where it does not start."""
        cuda = self.torch.cuda
        count = cuda.device_count() if cuda.is_available() else 0
        properties = [cuda.get_device_properties(index) for index in range(count)]
        return tuple(Card(i, p.name, (p.major, p.minor), p.total_memory) for i, p in enumerate(properties))

    def why_no_cuda(self) -> str:
        """What CUDA's initialisation says; empty where it works."""
        try:
            self.torch.cuda.init()
        except Exception as error:
            return str(error)
        return ""

    def bf16(self) -> bool:
        """Whether the GPU multiplies bfloat16."""
        return bool(self.torch.cuda.is_bf16_supported())

    def peers(self) -> list[tuple[int, int]]:
        """Pairs of cards that cannot reach each other's memory directly."""
        cuda = self.torch.cuda
        pairs = [(a, b) for a in range(cuda.device_count()) for b in range(a + 1, cuda.device_count())]
        return [(a, b) for a, b in pairs if not cuda.can_device_access_peer(a, b)]

    def free(self, index: int) -> int:
        """Bytes of device memory that nobody has taken."""
        return int(self.torch.cuda.mem_get_info(index)[0])

    def compiler_obstacle(self) -> str | None:
        """Why torch.compile cannot work with this Python; None where it can."""
        from app.compat import compiler_obstacle

        return compiler_obstacle()

    def numpy(self) -> str:
        """numpy's version, after a tensor went through it both ways."""
        torch = self.torch
        numpy = importlib.import_module("numpy")
        tensor = torch.arange(4.0)
        if not torch.equal(torch.from_numpy(tensor.numpy() * 2), tensor * 2):
            raise RuntimeError("a tensor came back from numpy with other values")
        return str(numpy.__version__)

    def libraries(self, device: str) -> str:
        """/proc/self/maps after a convolution, which loads the last of CUDA's libraries."""
        torch = self.torch
        image, kernel = torch.ones(1, 1, 8, 8, device=device), torch.ones(1, 1, 3, 3, device=device)
        torch.nn.functional.conv2d(image, kernel).sum().item()
        return World().read("/proc/self/maps") or ""

    # -- steps 7 to 10

    def place(self, device: str, size: int) -> bool:
        """Put two (size, size) float32 matrices on the device; whether they come back bit for bit."""
        torch = self.torch
        generator = torch.Generator().manual_seed(0)
        host = [torch.randn(size, size, generator=generator) for _ in range(2)]
        self._before = self._allocated(device)
        # Copied on the CPU too: what is let go of in step 10 must not be what the check itself holds.
        self._placed = (host[0].to(device, copy=True), host[1].to(device, copy=True))
        return all(torch.equal(there.cpu(), here) for there, here in zip(self._placed, host))

    def multiply(self) -> tuple[float, float]:
        """Seconds of the first and of the second multiplication of the placed matrices."""
        if self._placed is None:
            raise StepMissingError("no tensors were placed")
        a, b = self._placed
        self._product, first, again = measure(lambda: a @ b, str(a.device))
        self._during = self._allocated(str(a.device))
        return first, again

    def collect(self) -> float:
        """Largest difference of the product from float64 on the CPU, relative to the largest entry."""
        if self._placed is None or self._product is None:
            raise StepMissingError("no kernel has run")
        a, b = (x.cpu().double() for x in self._placed)
        return difference(self._product, a @ b)

    def release(self) -> Held:
        """Let go of everything that steps 7 to 9 left."""
        if self._placed is None:
            raise StepMissingError("no tensors were placed")
        device = str(self._placed[0].device)
        left = [weakref.ref(t) for t in (*self._placed, self._product) if t is not None]
        self._placed = self._product = None
        gc.collect()
        if device == "cpu":
            after = sum(_bytes(t) for ref in left if (t := ref()) is not None)
            return Held(self._before, self._during, after, _available())
        cuda = self.torch.cuda
        cuda.synchronize()
        cuda.empty_cache()
        return Held(self._before, self._during, self._allocated(device), int(cuda.mem_get_info(device)[0]))

    def _allocated(self, device: str) -> int:
        """Bytes on the device: as CUDA's allocator counts them, on the CPU those of our own tensors."""
        if device == "cpu":
            return sum(_bytes(t) for t in (*(self._placed or ()), self._product) if t is not None)
        return int(self.torch.cuda.memory_allocated(device))

    # -- the kernels

    def trial(self, name: str, device: str) -> KernelRun:
        """Run one of `TRIALS` on the device and compare it with float64 on the CPU."""
        return REFERENCE_KERNELS[name](device)


def _bytes(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


def _available() -> int:
    """Bytes of main memory that can be had without swapping; 0 where the kernel does not tell."""
    lines = (World().read("/proc/meminfo") or "").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
