"""NVML, NVIDIA's management library, through its Python module pynvml: driver, clocks, temperature, power, PCIe link.

Neither torch nor CUDA is started. Each question opens and closes its own session, so that no session is left to a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.hardware.gpus import Gpu

# nvmlReturn_t (nvml.h), those that a user meets; the text is what nvidia-smi prints for them.
ERROR_TEXT = {
    3: "not supported",
    4: "insufficient permissions",
    6: "not found",
    9: "driver not loaded",
    12: "a library was not found",
    15: "GPU is lost",
    17: "operating system call failed (no access to the device)",
    18: "Driver/library version mismatch",
    999: "Unknown Error",
}
# Bits of nvmlClocksThrottleReasons (NVML API reference). 0x1 is an idle card, which is not throttled.
THROTTLE_REASONS = {
    0x2: "clocks set by the user",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}


class NvmlError(Exception):
    """NVML did not answer. `code`: its nvmlReturn_t; None if pynvml or libnvidia-ml.so.1 is missing."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class PynvmlMissingError(NvmlError):
    """The package nvidia-ml-py, which brings pynvml, is not installed."""


@dataclass(frozen=True)
class DriverInfo:
    """The driver's version as NVML prints it, and the number of its GPUs."""

    version: str
    gpus: int


def driver_info() -> DriverInfo:
    """Return the driver's version and number of GPUs. Raises NvmlError if NVML does not answer."""
    with session() as nvml:
        return DriverInfo(str(nvml.nvmlSystemGetDriverVersion()), int(nvml.nvmlDeviceGetCount()))


def gpu_state(gpu: Gpu) -> dict[str, str]:
    """Return the clocks, temperature, power and throttling of a GPU now. Raises NvmlError if NVML does not answer."""
    with session() as nvml:
        return read_state(nvml, handle_of(nvml, gpu))


def pcie_link(gpu: Gpu) -> tuple[int, int]:
    """Return generation and lanes of a GPU's PCIe link, at most. Raises NvmlError if NVML does not answer."""
    with session() as nvml:
        handle = handle_of(nvml, gpu)
        generation = nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)  # the current one drops when the GPU idles
        return int(generation), int(nvml.nvmlDeviceGetMaxPcieLinkWidth(handle))


@contextmanager
def session() -> Iterator[Any]:
    """Start NVML, yield pynvml and shut NVML down. Raises NvmlError if a call inside the block fails, too."""
    try:
        import pynvml
    except ImportError:
        raise PynvmlMissingError("NVML's Python module (nvidia-ml-py) is not installed") from None
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        if pynvml.nvmlLib is None:
            raise NvmlError("no libnvidia-ml.so.1") from None
        raise NvmlError(ERROR_TEXT.get(error.value, f"error {error.value}"), error.value) from None


def handle_of(nvml: Any, gpu: Gpu) -> Any:
    """Return NVML's handle of a GPU, by UUID if it is known: NVML numbers all GPUs, CUDA only the visible ones."""
    if gpu.uuid is not None:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{gpu.uuid}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[gpu.index].strip() if len(visible) > gpu.index else ""
    if name.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    return nvml.nvmlDeviceGetHandleByIndex(int(name) if name.isdigit() else gpu.index)


def read_state(nvml: Any, handle: Any) -> dict[str, str]:
    """Return the state of one GPU. Each fact is asked for separately: a virtual GPU answers only some questions."""
    questions: dict[str, Callable[[], str]] = {
        "graphics clock": lambda: f"{nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)} MHz",
        "memory clock": lambda: f"{nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)} MHz",
        "temperature": lambda: f"{nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)} C",
        "power": lambda: f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f} W",
        "power limit": lambda: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f} W",
        "throttling": lambda: throttling(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        "driver": lambda: str(nvml.nvmlSystemGetDriverVersion()),
    }
    answers = {}
    for name, question in questions.items():
        try:
            answers[name] = question()
        except nvml.NVMLError as error:
            answers[name] = f"unknown: {error}"
    return answers


def throttling(bits: int) -> str:
    """Return the reasons of a bit mask of nvmlClocksThrottleReasons in words; `none` without one."""
    return ", ".join(text for bit, text in THROTTLE_REASONS.items() if bits & bit) or "none"
