"""The machine is recorded with its results, and what NVML refuses to answer is recorded as unknown."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import torch

from app.benchmark.machine import device_memory, hardware, nvml_state, software, state

CPU = torch.device("cpu")


class Nvml:
    """A virtual card: it answers clocks and refuses power."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def nvmlDeviceGetClockInfo(self, handle: object, which: int) -> int:  # noqa: N802
        return {1: 1980, 2: 3201}[which]

    def nvmlDeviceGetTemperature(self, handle: object, which: int) -> int:  # noqa: N802
        return 41

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: object) -> int:  # noqa: N802
        return 0x4 | 0x40

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "550.54.15"

    def __getattr__(self, name: str) -> Any:
        def refuse(*args: object) -> None:
            raise self.NVMLError("Not Supported")

        return refuse


def test_a_refused_answer_of_nvml_leaves_the_others() -> None:
    assert nvml_state(Nvml(), object()) == {
        "graphics clock": "1980 MHz",
        "memory clock": "3201 MHz",
        "temperature": "41 C",
        "power": "unknown: Not Supported",
        "power limit": "unknown: Not Supported",
        "throttling": "power cap, too hot (hardware)",
        "driver": "550.54.15",
    }


def test_a_cpu_is_described_by_the_hardware_that_changes_its_figures() -> None:
    facts = hardware(CPU)
    assert {"device", "memory", "processor", "threads", "last-level cache"} == facts.keys()
    assert all(facts.values()) and facts["threads"] == str(torch.get_num_threads())
    assert device_memory(CPU) > 1 << 28
    assert "load" in state(CPU)


def test_versions_are_those_that_are_loaded() -> None:
    versions = software(CPU)
    assert versions["torch"] == torch.__version__
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))


def test_help_needs_no_torch() -> None:
    code = """
import sys
from app.cli import main
try:
    main(["bench", "--help"])
except SystemExit:
    pass
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "--budget" in done.stdout and "compare" in done.stdout
