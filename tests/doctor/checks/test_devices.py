"""The checks of the GPUs, for every number and kind of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.doctor.checks import devices
from app.doctor.context import DoctorContext
from app.doctor.nvidia import cuda_release
from app.hardware.nvml import DriverInfo, NvmlError, PynvmlMissingError
from tests.doctor.fake_context import CU117, CU118, GIB, H100, L4, RTX5090, FakeNvidia, FakeProbe, context

TWO = (L4, replace(L4, index=1))


@pytest.mark.parametrize(
    ("probe", "status", "part"),
    [
        (FakeProbe(), "skip", "no GPU here"),
        (FakeProbe(CU118, (H100,)), "pass", "1 of 1 cards run"),
        (FakeProbe(CU117, (H100,)), "fail", "0 NVIDIA H100 80GB HBM3 (sm_90)"),
        (FakeProbe(CU118, (L4, RTX5090)), "fail", "RTX 5090 (sm_120)"),
    ],
)
def test_architectures(probe: FakeProbe, status: str, part: str) -> None:
    answer = devices.architectures.look(context(probe))
    assert (answer.status, part in answer.detail) == (status, True), answer


def test_a_card_that_is_more_than_half_full_is_a_warning() -> None:
    assert devices.memory.look(context()).status == "skip"
    assert devices.memory.look(context(FakeProbe(gpus_=(L4,)))).detail == "0: 20.0 of 22.0 GiB free"
    assert devices.memory.look(context(FakeProbe(gpus_=(L4,), free_=GIB))).status == "warn"


def test_bfloat16_of_cpu_and_gpu() -> None:
    flags = {"/proc/cpuinfo": "model name\t: Xeon\nflags\t\t: fpu avx512_bf16 amx_tile\n"}
    assert devices.bfloat16.look(context()).detail == "CPU emulates it"
    assert devices.bfloat16.look(context(files=flags)).detail == "CPU with avx512_bf16"
    assert "GPU has it" in devices.bfloat16.look(context(FakeProbe(gpus_=(L4,)))).detail
    assert "precision=fp16" in devices.bfloat16.look(context(FakeProbe(gpus_=(L4,), bf16_=False))).detail


def test_peer_access() -> None:
    assert devices.peer_access.look(context(FakeProbe(gpus_=(L4,)))).status == "skip"
    assert devices.peer_access.look(context(FakeProbe(gpus_=TWO))).status == "pass"
    answer = devices.peer_access.look(context(FakeProbe(gpus_=TWO, separate=[(0, 1)])))
    assert (answer.status, "0-1" in answer.detail) == ("warn", True)


LOST = NvmlError("Unknown Error", 999)
MISMATCH = NvmlError("Driver/library version mismatch", 18)
NO_PYNVML = PynvmlMissingError("nvidia-ml-py is not installed")
NODES = {"/dev/nvidia0": "", "/dev/nvidia1": "", "/dev/nvidiactl": ""}


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (context(), "skip", "no GPU here"),
        (context(nvidia=FakeNvidia(DriverInfo("535.1", 2)), files=NODES), "pass", "driver 535.1, 2 cards"),
        (context(nvidia=FakeNvidia(DriverInfo("535.1", 1)), files=NODES), "fail", "shows 1 cards, 2 device nodes"),
        (
            context(nvidia=FakeNvidia(LOST), files=NODES),
            "fail",
            "Failed to initialize NVML: Unknown Error",
        ),
        (
            context(nvidia=FakeNvidia(MISMATCH), files=NODES),
            "fail",
            "Driver/library version mismatch",
        ),
        (context(nvidia=FakeNvidia(NvmlError("error 77", 77)), files=NODES), "fail", "error 77"),
        (context(files=NODES), "fail", "libnvidia-ml.so.1 is not"),
        (context(nvidia=FakeNvidia(NO_PYNVML), files=NODES), "fail", "nvidia-ml-py is not installed"),
        (context(nvidia=FakeNvidia(NO_PYNVML)), "skip", "no GPU here"),
        (context(nvidia=FakeNvidia(DriverInfo("536.1", 1)), files={"/dev/dxg": ""}), "pass", "1 cards"),
    ],
)
def test_nvml(there: DoctorContext, status: str, part: str) -> None:
    answer = devices.nvml.look(there)
    assert (answer.status, part in answer.detail) == (status, True), answer
    assert answer.status != "fail" or answer.fix


def test_cuda_versions_are_unpacked() -> None:
    assert [cuda_release(n) for n in (11080, 12020, 13000)] == ["11.8", "12.2", "13.0"]
