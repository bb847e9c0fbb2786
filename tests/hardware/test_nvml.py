"""NVML: a fact that a GPU does not answer is unknown, and a failure has its code and nvidia-smi's text."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from app.hardware import nvml
from app.hardware.gpus import Gpu


class Nvml:
    """A virtual GPU: it answers clocks and refuses power."""

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
    assert nvml.read_state(Nvml(), object()) == {
        "graphics clock": "1980 MHz",
        "memory clock": "3201 MHz",
        "temperature": "41 C",
        "power": "unknown: Not Supported",
        "power limit": "unknown: Not Supported",
        "throttling": "power cap, too hot (hardware)",
        "driver": "550.54.15",
    }


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value


def stand_in(monkeypatch: pytest.MonkeyPatch, code: int = 0, library: object = object()) -> list[str]:
    """Put a module in place of pynvml whose nvmlInit returns `code`; return the names of the functions it calls."""
    calls: list[str] = []

    def init() -> None:
        calls.append("init")
        if code:
            raise NVMLError(code)

    module = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlLib=library,
        nvmlInit=init,
        nvmlShutdown=lambda: calls.append("shutdown"),
        nvmlSystemGetDriverVersion=lambda: "535.104.05",
        nvmlDeviceGetCount=lambda: 3,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return calls


def test_the_driver_and_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch)
    assert nvml.driver_info() == nvml.DriverInfo("535.104.05", 3)
    assert calls == ["init", "shutdown"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (999, "Unknown Error"),
        (18, "Driver/library version mismatch"),
        (12, "a library was not found"),
        (77, "error 77"),
    ],
)
def test_a_failure_has_its_code_and_the_text_of_nvidia_smi(
    monkeypatch: pytest.MonkeyPatch, code: int, text: str
) -> None:
    assert stand_in(monkeypatch, code) == []
    with pytest.raises(nvml.NvmlError, match=text) as caught:
        nvml.driver_info()
    assert caught.value.code == code


def test_a_missing_library_or_module_has_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, 12, library=None)
    with pytest.raises(nvml.NvmlError, match=r"no libnvidia-ml\.so\.1") as caught:
        nvml.driver_info()
    assert caught.value.code is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(nvml.NvmlError, match=r"nvidia-ml-py\) is not installed") as caught:
        nvml.driver_info()
    assert caught.value.code is None


def test_a_failure_inside_the_session_still_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch)
    with pytest.raises(nvml.NvmlError, match="GPU is lost"), nvml.session():
        raise NVMLError(15)
    assert calls == ["init", "shutdown"]


@pytest.mark.parametrize(
    ("uuid", "visible", "expected"),
    [
        (None, "", 1),
        (None, "3,5", 5),
        (None, "GPU-aa,MIG-bb", "MIG-bb"),
        ("cc", "3,5", "GPU-cc"),
    ],
)
def test_a_gpu_is_found_by_uuid_or_by_its_visible_number(
    monkeypatch: pytest.MonkeyPatch, uuid: str | None, visible: str, expected: int | str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    library = SimpleNamespace(nvmlDeviceGetHandleByUUID=str, nvmlDeviceGetHandleByIndex=int)
    assert nvml.handle_of(library, Gpu(1, "NVIDIA L4", (8, 9), 22 << 30, uuid)) == expected
