"""The most memory that something takes while it runs: the device's allocator knows on a GPU, the kernel on a CPU.

with PeakMemory(device) as peak:
    step()
peak.bytes      # above what was in use before; None where nobody keeps count
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path
from types import TracebackType

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")  # writing 5 sets the peak back to what is resident now: proc(5)


class PeakMemory:
    """Context that measures the peak above the start. On a CPU it is resident memory, so what is free is given back to
    the kernel first: pages that an earlier step left would not be counted again."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._before: int | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()  # what failed before may lie in a circle with its Trainer, and with it all that it allocated
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            _give_back()
            self._before = _status("VmRSS") if _reset() else None
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
            now = _status("VmHWM")
        self.bytes = None if now is None else max(0, now - self._before)


def _give_back() -> None:
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):  # glibc's; others give back by themselves
        library.malloc_trim(0)


def _reset() -> bool:
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int | None:
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None
