"""The most memory that something takes while it runs: the device's allocator knows on a GPU, the kernel on a CPU.

with PeakMemory(device) as peak:
    step()
peak.bytes      # above what was in use before; None where nobody keeps count
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")  # writing 5 sets the peak back to what is resident now: proc(5)


class PeakMemory:
    """Context that measures the peak above the start. On a CPU it is resident memory: freed pages may stay resident,
    so a step that reuses what an earlier one left shows less than it would in a fresh process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._before: int | None = None

    def __enter__(self) -> PeakMemory:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
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
