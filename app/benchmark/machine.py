"""The machine of a benchmark: the hardware on which its figures depend, the versions, and the state of the card."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from app.hardware import nvml
from app.hardware.cpu import cpu_name
from app.hardware.gpus import gpu
from app.hardware.versions import PACKAGES, cuda_version, cudnn_version, package_versions

_GIB = 1 << 30


def pick_device() -> torch.device:
    """Return the device that training uses: the first CUDA device, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the driver's name of the card, or the kernel's name of the processor."""
    if device.type == "cuda":
        return gpu(device.index or 0).name
    return _processor()


def device_memory(device: torch.device) -> int:
    """Return the bytes of memory of the card, or of the machine."""
    if device.type == "cuda":
        return gpu(device.index or 0).memory
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
        facts["compute capability"] = "{}.{}".format(*gpu(device.index or 0).capability)
    else:
        facts["last-level cache"] = f"{last_level_cache() / (1 << 20):.0f} MiB" if last_level_cache() else "unknown"
    return facts


def software(device: torch.device) -> dict[str, str]:
    """Return the versions of Python, the system, the packages and CUDA."""
    packages = package_versions()
    system = f"{platform.system()} {platform.release()}"
    versions = {"python": packages.pop("python"), "system": system}
    versions |= dict.fromkeys(PACKAGES, "not installed") | packages
    if device.type == "cuda":
        versions["cuda"] = str(cuda_version())
        versions["cudnn"] = str(cudnn_version())
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
        return nvml.gpu_state(gpu(device.index or 0))
    except nvml.NvmlError as error:
        return {"unknown": f"NVML does not answer: {error}"}


def pcie_link(device: torch.device) -> tuple[int, int] | None:
    """Return generation and lanes of the card's PCIe link; None if NVML does not report them."""
    try:
        return nvml.pcie_link(gpu(device.index or 0))
    except nvml.NvmlError:
        return None


def _processor() -> str:
    return f"{cpu_name()}, {os.cpu_count()} logical cores"
