"""A DoctorContext that answers as a test says, without torch, NVIDIA's libraries or the machine.

context(FakeProbe(gpus_=(H100,)), FakeNvidia(DriverInfo("535.104.05", 1)), files={"/dev/nvidia0": ""})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from app.doctor.context import DoctorContext
from app.doctor.nvidia import NvidiaLibraries
from app.doctor.reference_kernels import KernelRun
from app.doctor.torch_probe import MemoryUse, TorchBuild, TorchProbe
from app.hardware.gpus import Gpu
from app.hardware.nvml import DriverInfo, NvmlError
from tests.host.fake_world import FakeWorld

SITE = "/venv/lib/python3.10/site-packages"
TORCH = f"{SITE}/torch/__init__.py"
CU118 = TorchBuild(
    "2.0.1+cu118", "11.8", ("sm_37", "sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"), TORCH
)
CU117 = TorchBuild("2.0.1+cu117", "11.7", CU118.archs[:-1], TORCH)
CPU = TorchBuild("2.0.1+cpu", None, (), TORCH)
GIB = 2**30
L4 = Gpu(0, "NVIDIA L4", (8, 9), 22 * GIB)
H100 = Gpu(0, "NVIDIA H100 80GB HBM3", (9, 0), 80 * GIB)
RTX5090 = Gpu(0, "NVIDIA GeForce RTX 5090", (12, 0), 32 * GIB)
CUDNN = "/nvidia/cudnn/lib/"
RELEASED = MemoryUse(0, 3 << 20, 0, GIB)
RIGHT = KernelRun(1e-6, 1e-3, 0.1, 0.01)
NO_NVML = NvmlError("no libnvidia-ml.so.1")

T = TypeVar("T")


def maps(*paths: str) -> str:
    """Return a /proc/self/maps with these libraries, each mapped twice as the kernel shows them."""
    lines = [
        "5581c0a00000-5581c0a01000 r--p 00000000 08:01 1  /usr/bin/python3.10",
        "7ffd0000-7ffe0000 rw-p 0 00:00 0  [stack]",
    ]
    for i, path in enumerate(paths):
        lines += [
            f"7f{i:02}00000000-7f{i:02}00100000 {mode} 00000000 08:01 {i + 2}  {path}" for mode in ("r--p", "r-xp")
        ]
    return "\n".join(lines) + "\n"


@dataclass
class FakeProbe(TorchProbe):
    """Each field is the answer of the method of that name; an exception is raised instead."""

    built: TorchBuild = CU118
    gpus_: tuple[Gpu, ...] = ()
    cudnn_: tuple[int, int] | Exception | None = (8700, 8700)
    nccl_: str | None = "2.15.5"
    reason: str = ""
    bf16_: bool = True
    separate: list[tuple[int, int]] = field(default_factory=list)
    free_: int = 20 * GIB
    numpy_: str | Exception = "1.26.4"
    maps: str | Exception = ""
    comes_back: bool | Exception = True
    seconds: tuple[float, float] | Exception = (0.1, 0.01)
    error: float | Exception = 1e-6
    held: MemoryUse | Exception = RELEASED
    obstacle: str | None = None
    kernel: KernelRun | Exception = RIGHT

    def build(self) -> TorchBuild:
        return self.built

    def gpus(self) -> tuple[Gpu, ...]:
        return self.gpus_

    def cudnn(self) -> tuple[int, int] | None:
        return _or_raise(self.cudnn_)

    def nccl(self) -> str | None:
        return self.nccl_

    def cuda_error(self) -> str:
        return self.reason

    def gpu_has_bf16(self) -> bool:
        return self.bf16_

    def pairs_without_peer_access(self) -> list[tuple[int, int]]:
        return self.separate

    def free_memory(self, index: int) -> int:
        return self.free_

    def numpy_version(self) -> str:
        return _or_raise(self.numpy_)

    def memory_maps(self, device: str) -> str:
        return _or_raise(self.maps)

    def place(self, device: str, size: int) -> bool:
        return _or_raise(self.comes_back)

    def multiply(self) -> tuple[float, float]:
        return _or_raise(self.seconds)

    def product_error(self) -> float:
        return _or_raise(self.error)

    def release(self) -> MemoryUse:
        return _or_raise(self.held)

    def compiler_obstacle(self) -> str | None:
        return self.obstacle

    def run_kernel(self, name: str, device: str) -> KernelRun:
        return _or_raise(self.kernel)


def _or_raise(value: T | Exception) -> T:
    if isinstance(value, Exception):
        raise value
    return value


@dataclass
class FakeNvidia(NvidiaLibraries):
    """Each field is the answer of the method; an exception is raised instead."""

    driver_: DriverInfo | NvmlError = NO_NVML
    newest: int | None = None
    runtime: int | None = None

    def driver(self) -> DriverInfo:
        return _or_raise(self.driver_)

    def driver_cuda(self) -> int | None:
        return self.newest

    def runtime_cuda(self, path: str) -> int | None:
        return self.runtime


def context(
    probe: TorchProbe | None = None,
    nvidia: NvidiaLibraries | None = None,
    files: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    free: Mapping[str, int] | int | None = None,
    **fields: Any,
) -> DoctorContext:
    """Return the context of a container of variant cu118, or with the variables in `env`."""
    world = FakeWorld(files=files, env={"WORKSPACE_VARIANT": "cu118"} if env is None else env, free=free)
    return DoctorContext(world, probe or FakeProbe(), nvidia or FakeNvidia(), **{"site": Path(SITE), **fields})
