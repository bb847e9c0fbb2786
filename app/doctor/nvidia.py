"""The versions of NVIDIA's driver and CUDA runtime, asked without torch: NVML through pynvml, the others by ctypes."""

from __future__ import annotations

import ctypes

from app.hardware.nvml import DriverInfo, driver_info


class NvidiaLibraries:
    """libcuda, libcudart and NVML. A test replaces it."""

    def driver(self) -> DriverInfo:
        """Return the driver's version and number of GPUs. Raises NvmlError if NVML does not answer."""
        return driver_info()

    def driver_cuda(self) -> int | None:
        """Return the newest CUDA that the loaded driver supports, 12020 for 12.2; None if there is no libcuda."""
        return _version("libcuda.so.1", "cuDriverGetVersion")

    def runtime_cuda(self, path: str) -> int | None:
        """Return the version of the CUDA runtime in this file, 11080 for 11.8; None if it is no CUDA runtime."""
        return _version(path, "cudaRuntimeGetVersion")


def _version(library: str, function: str) -> int | None:
    number = ctypes.c_int()
    try:
        code = getattr(ctypes.CDLL(library), function)(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return number.value if code == 0 else None


def cuda_release(number: int) -> str:
    """Return a packed CUDA version as text: 11080 is `11.8`. CUDA packs 1000 x major + 10 x minor (cuda.h)."""
    return f"{number // 1000}.{number % 1000 // 10}"
