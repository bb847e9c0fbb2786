"""The ten steps: each outcome of each, without the hardware."""

from __future__ import annotations

import pytest

from app.doctor import registry
from app.doctor.checks import steps
from app.doctor.context import DoctorContext
from app.doctor.torch_probe import MemoryUse, StepMissingError, TorchBuild
from app.hardware.nvml import DriverInfo, NvmlError
from app.host.checks.check import Answer, Check
from tests.doctor.fake_context import (
    CPU,
    CU117,
    CU118,
    H100,
    L4,
    RTX5090,
    SITE,
    FakeNvidia,
    FakeProbe,
    context,
    maps,
)

NODE = {"/dev/nvidia0": ""}
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n"
CUDART = f"{SITE}/nvidia/cuda_runtime/lib/libcudart.so.11.0"
MISMATCH = NvmlError("Driver/library version mismatch", 18)
ONE_CARD = DriverInfo("535.104.05", 1)


def ask(check: Check[DoctorContext], there: DoctorContext) -> Answer:
    return check.look(there)


def test_there_are_ten_in_order() -> None:
    assert [c.step for c in registry.checks_of(steps)] == list(range(1, 11))


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (context(), "pass", "no NVIDIA GPU"),
        (context(FakeProbe(gpus_=(H100,)), files=NODE), "pass", "NVIDIA H100 80GB HBM3 (80 GiB)"),
        (context(FakeProbe(CPU), files=NODE), "pass", "this torch has no CUDA"),
        (context(files=NODE, env={"CUDA_VISIBLE_DEVICES": ""}), "pass", "hidden by CUDA_VISIBLE_DEVICES="),
        (
            context(FakeProbe(reason="Error 802: system not yet initialized"), files=NODE),
            "fail",
            "shows no card: Error 802",
        ),
        (context(files={"/dev/dxg": ""}), "fail", "/dev/dxg is here"),
    ],
)
def test_hardware(there: DoctorContext, status: str, part: str) -> None:
    answer = ask(steps.hardware, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (context(), "skip", "no NVIDIA driver"),
        (
            context(nvidia=FakeNvidia(ONE_CARD), files={"/proc/driver/nvidia/version": MODULE}),
            "pass",
            "native for CUDA 11.8",
        ),
        (context(nvidia=FakeNvidia(DriverInfo("470.82.01", 1))), "pass", "minor-version compatibility"),
        (context(nvidia=FakeNvidia(DriverInfo("418.226.00", 1))), "fail", "needs 450.80.02 or later"),
        (context(FakeProbe(CPU), FakeNvidia(ONE_CARD)), "pass", "no CUDA"),
        (
            context(nvidia=FakeNvidia(DriverInfo("535.183.01", 1)), files={"/proc/driver/nvidia/version": MODULE}),
            "fail",
            "library is 535.183.01 and its kernel module is 535.104.05",
        ),
        (
            context(
                nvidia=FakeNvidia(MISMATCH),
                files={"/proc/driver/nvidia/version": MODULE},
            ),
            "pass",
            "535.104.05",
        ),
    ],
)
def test_driver(there: DoctorContext, status: str, part: str) -> None:
    answer = ask(steps.driver, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (context(FakeProbe(CPU)), "skip", "no CUDA"),
        (context(nvidia=FakeNvidia(newest=12020, runtime=11080)), "pass", "from torch itself, driver up to 12.2"),
        (
            context(nvidia=FakeNvidia(runtime=11080), files={"/proc/self/maps": maps(CUDART)}),
            "pass",
            "runtime 11.8 from /venv",
        ),
        (
            context(
                nvidia=FakeNvidia(runtime=11070),
                files={"/proc/self/maps": maps("/usr/local/cuda/lib64/libcudart.so.11.0")},
            ),
            "fail",
            "built for CUDA 11.8, and /usr/local/cuda/lib64/libcudart.so.11.0 is 11.7",
        ),
    ],
)
def test_cuda(there: DoctorContext, status: str, part: str) -> None:
    answer = ask(steps.cuda, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


CLASH = RuntimeError(
    "cuDNN version incompatibility: PyTorch was compiled  against (8, 7, 0) but found runtime version (8, 6, 0)."
)


@pytest.mark.parametrize(
    ("pair", "status", "part"),
    [
        (None, "skip", "no cuDNN"),
        ((8700, 8700), "pass", "8700 loaded, compiled against 8700; NCCL 2.15.5"),
        ((8700, 8906), "pass", "8906 loaded"),
        ((8700, 8600), "fail", "8600 loaded"),
        ((8700, 90100), "fail", "90100 loaded"),
        ((90100, 91002), "pass", "91002 loaded"),
        ((91002, 90100), "fail", "90100 loaded"),
        (CLASH, "fail", "RuntimeError: cuDNN version incompatibility"),
    ],
)
def test_cudnn(pair: tuple[int, int] | Exception | None, status: str, part: str) -> None:
    answer = ask(steps.cudnn, context(FakeProbe(cudnn_=pair)))
    assert (answer.status, part in answer.detail) == (status, True), answer
    assert status != "fail" or "LD_LIBRARY_PATH" in answer.fix or "cudnn-version" in answer.fix


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (context(), "pass", "2.0.1+cu118 from"),
        (context(FakeProbe(CU117)), "fail", "this environment is 2.0.1+cu118"),
        (context(FakeProbe(TorchBuild("2.4.0+cu121", "12.1", (), f"{SITE}/torch/__init__.py"))), "fail", "2.4.0+cu121"),
        (
            context(FakeProbe(TorchBuild("2.0.1+cu118", "11.8", (), "/home/ana/torch/__init__.py"))),
            "fail",
            "from /home/ana",
        ),
        (
            context(FakeProbe(TorchBuild("2.4.0", "12.1", (), f"{SITE}/torch/__init__.py")), env={}),
            "warn",
            "is made for 2.0.1",
        ),
        (context(FakeProbe(CU117), env={}), "pass", "2.0.1+cu117"),
    ],
)
def test_pytorch(there: DoctorContext, status: str, part: str) -> None:
    answer = ask(steps.pytorch, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


@pytest.mark.parametrize(
    ("probe", "status", "detail"),
    [
        (FakeProbe(), "pass", "cpu"),
        (FakeProbe(gpus_=(L4,)), "pass", "cuda:0, NVIDIA L4"),
        (FakeProbe(CU117, (H100,)), "fail", "none for NVIDIA H100 80GB HBM3 (sm_90)"),
        (FakeProbe(CU118, (RTX5090, L4.__class__(1, "NVIDIA L4", (8, 9), 1))), "pass", "cuda:1, NVIDIA L4"),
    ],
)
def test_device(probe: FakeProbe, status: str, detail: str) -> None:
    answer = ask(steps.device, context(probe))
    assert (answer.status, detail in answer.detail) == (status, True), answer


OOM = RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB (GPU 0; 22.00 GiB total capacity)")
MISSING = StepMissingError("no tensors were placed")


@pytest.mark.parametrize(
    ("check", "probe", "status", "part"),
    [
        (steps.place, FakeProbe(), "pass", "and back"),
        (steps.place, FakeProbe(comes_back=False), "fail", "came back from cpu changed"),
        (steps.place, FakeProbe(comes_back=OOM), "fail", "CUDA out of memory"),
        (steps.run_kernels, FakeProbe(), "pass", "100.0 ms at first, then 10.00 ms"),
        (steps.run_kernels, FakeProbe(seconds=MISSING), "skip", "no tensors were placed: see the steps before"),
        (steps.collect, FakeProbe(), "pass", "off by 1.0e-06"),
        (steps.collect, FakeProbe(error=0.3), "fail", "off by 3.0e-01"),
        (steps.collect, FakeProbe(error=float("nan")), "fail", "off by nan"),
        (steps.free, FakeProbe(), "pass", "3 MiB were held, 0 MiB now"),
        (steps.free, FakeProbe(held=MemoryUse(0, 3 << 20, 3 << 20, 1)), "fail", "3 MiB now"),
        (steps.free, FakeProbe(held=MISSING), "skip", "no tensors"),
    ],
)
def test_steps_7_to_10(check: Check[DoctorContext], probe: FakeProbe, status: str, part: str) -> None:
    answer = ask(check, context(probe))
    assert (answer.status, part in answer.detail) == (status, True), answer


def test_an_error_that_the_catalogue_knows_brings_its_fix() -> None:
    assert "(cuda-out-of-memory)" in ask(steps.place, context(FakeProbe(comes_back=OOM))).fix
