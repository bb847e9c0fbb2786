"""The machine of a benchmark: the hardware on which its figures depend, the versions, and the state of the card."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

_PACKAGES = ("torch", "lightning", "transformers", "tokenizers", "numpy")
_GIB = 1 << 30
T = TypeVar("T")


def pick_device() -> torch.device:
    """Return the device that training uses: the first CUDA device, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the driver's name of the card, or the kernel's name of the processor."""
    if device.type == "cuda":
        return str(_properties(device).name)
    return _processor()


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory of the card, or of the machine."""
    if device.type == "cuda":
        return int(_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def hardware(device: torch.device) -> dict[str, str]:
    """Return the hardware on which figures depend; two results can be compared if it agrees."""
    facts = {
        "device": device_name(device),
        "memory": f"{device_memory(device) / _GIB:.1f} GiB",
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
    }
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        facts["compute capability"] = f"{major}.{minor}"
    else:
        facts["last-level cache"] = f"{last_level_cache() / (1 << 20):.0f} MiB" if last_level_cache() else "unknown"
    return facts


def software(device: torch.device) -> dict[str, str]:
    """Return the versions of Python, the system, the packages and CUDA."""
    versions = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    versions["torch"] = str(torch.__version__)
    if device.type == "cuda":
        versions["cuda"] = str(torch.version.cuda)
        versions["cudnn"] = str(importlib.import_module("torch.backends.cudnn").version())
    return versions


def last_level_cache() -> int:
    """Return the bytes of the first processor's largest cache; 0 if the kernel does not report it."""
    sizes = [0]
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = index.read_text().strip()
        sizes.append(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1:], 0))
    return max(sizes)


def state(device: torch.device) -> dict[str, str]:
    """Return clocks, temperature, power and throttling of a card now, or the load of a CPU; if unknown, the reason."""
    if device.type != "cuda":
        return {"load": f"{os.getloadavg()[0]:.2f} runnable threads over the last minute"}
    try:
        return _ask_nvml(device, nvml_state)
    except _NvmlError as error:
        return {"unknown": str(error)}


def pcie_link(device: torch.device) -> tuple[int, int] | None:
    """Return generation and lanes of the card's PCIe link; None if NVML does not report them."""

    def ask(nvml: Any, handle: Any) -> tuple[int, int]:
        generation = nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle)  # the current one drops when the card idles
        return int(generation), int(nvml.nvmlDeviceGetMaxPcieLinkWidth(handle))

    try:
        return _ask_nvml(device, ask)
    except _NvmlError:
        return None


class _NvmlError(Exception):
    """NVML is not installed, or does not answer."""


def _ask_nvml(device: torch.device, ask: Callable[[Any, Any], T]) -> T:
    try:
        import pynvml
    except ImportError:
        raise _NvmlError("NVML's Python module (nvidia-ml-py) is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _NvmlError(f"NVML does not answer: {error}") from None
    try:
        return ask(pynvml, _nvml_handle(pynvml, device))
    except pynvml.NVMLError as error:
        raise _NvmlError(f"NVML does not answer: {error}") from None
    finally:
        pynvml.nvmlShutdown()


def nvml_state(nvml: Any, handle: Any) -> dict[str, str]:
    """Return the state of one card. Each fact is asked for separately: a virtual card answers only some questions."""
    questions: dict[str, Callable[[], str]] = {
        "graphics clock": lambda: f"{nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)} MHz",
        "memory clock": lambda: f"{nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)} MHz",
        "temperature": lambda: f"{nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)} C",
        "power": lambda: f"{nvml.nvmlDeviceGetPowerUsage(handle) / 1000:.0f} W",
        "power limit": lambda: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f} W",
        "throttling": lambda: _throttling(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        "driver": lambda: str(nvml.nvmlSystemGetDriverVersion()),
    }
    answers = {}
    for name, ask in questions.items():
        try:
            answers[name] = ask()
        except nvml.NVMLError as error:
            answers[name] = f"unknown: {error}"
    return answers


# Bits of nvmlClocksThrottleReasons (NVML API reference); idle is no throttling.
_THROTTLE_BITS = {
    0x2: "clocks set by the user",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}


def _throttling(bits: int) -> str:
    return ", ".join(text for bit, text in _THROTTLE_BITS.items() if bits & bit) or "none"


def _nvml_handle(nvml: Any, device: torch.device) -> Any:
    """Return NVML's handle of a CUDA device, by UUID if there is one: NVML numbers all cards, CUDA the visible ones."""
    uuid = getattr(_properties(device), "uuid", None)  # torch 2.4 and later
    if uuid is not None:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[device.index or 0].strip() if len(visible) > (device.index or 0) else ""
    if name.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    return nvml.nvmlDeviceGetHandleByIndex(int(name) if name.isdigit() else device.index or 0)


def _properties(device: torch.device) -> Any:
    return torch.cuda.get_device_properties(device)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} logical cores" if names else platform.machine()
