"""Peak memory of a block of code: from the device's allocator on a GPU, from the Linux kernel on a CPU.

with PeakMemory(device) as peak:
    step()
peak.bytes      # above what was in use before; None if the system keeps no count
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path
from types import TracebackType

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")  # writing 5 resets the peak to what is resident now: proc(5)


class PeakMemory:
    """A context manager that measures the peak above the memory in use at its start.

    On a CPU that is resident memory. Free memory is first returned to the kernel, because pages that an earlier step
    left resident would not be counted again.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._before: int | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()  # an earlier failure may be alive in a reference cycle with its Trainer, with all its memory
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            _return_free_memory()
            self._before = _status_bytes("VmRSS") if _reset_peak() else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            now: int | None = torch.cuda.max_memory_allocated(self.device)
        else:
            now = _status_bytes("VmHWM")
        self.bytes = None if now is None else max(0, now - self._before)


def _return_free_memory() -> None:
    """Return the allocator's free pages to the kernel."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # glibc's; other allocators return memory by themselves
        library.malloc_trim(0)


def _reset_peak() -> bool:
    """Reset the kernel's peak of resident memory; return False if it cannot be reset."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _status_bytes(field: str) -> int | None:
    """Return a field of /proc/self/status, in bytes; None if there is none."""
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
