"""What NVIDIA's own libraries say, asked without torch: libcuda and NVML through ctypes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

# nvmlReturn_t, nvml.h. Those that a user meets; the text is what nvidia-smi prints for them.
NVML_SUCCESS = 0
NVML_TEXT = {
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


@dataclass(frozen=True)
class Nvml:
    """NVML's answer: `code` is None where there is no libnvidia-ml, else nvmlInit's; `driver` as NVML prints it."""

    code: int | None
    driver: str = ""
    cards: int = 0

    @property
    def text(self) -> str:
        return "no libnvidia-ml.so.1" if self.code is None else NVML_TEXT.get(self.code, f"error {self.code}")


class Nvidia:
    """The seam to libcuda, libcudart and NVML."""

    def nvml(self) -> Nvml:
        """Start NVML, ask the driver's version and the number of cards, and stop it."""
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return Nvml(None)
        code = int(library.nvmlInit_v2())
        if code != NVML_SUCCESS:
            return Nvml(code)
        version = ctypes.create_string_buffer(96)
        count = ctypes.c_uint()
        library.nvmlSystemGetDriverVersion(version, len(version))
        library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        library.nvmlShutdown()
        return Nvml(code, version.value.decode(), count.value)

    def driver_cuda(self) -> int | None:
        """Newest CUDA version that the loaded driver knows, 12020 for 12.2; None where there is no libcuda."""
        return _version("libcuda.so.1", "cuDriverGetVersion")

    def runtime_cuda(self, path: str) -> int | None:
        """Version of the CUDA runtime in this file, 11080 for 11.8."""
        return _version(path, "cudaRuntimeGetVersion")


def _version(library: str, function: str) -> int | None:
    number = ctypes.c_int()
    try:
        code = getattr(ctypes.CDLL(library), function)(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return number.value if code == 0 else None


def dotted(number: int) -> str:
    """11080 -> `11.8`, as CUDA packs its versions: 1000 x major + 10 x minor."""
    return f"{number // 1000}.{number % 1000 // 10}"
