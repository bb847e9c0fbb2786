"""The ten steps: what each says, for every outcome, without the hardware."""

from __future__ import annotations

import pytest

from app.doctor.checks import steps
from app.doctor.context import Inside
from app.doctor.nvidia import Nvml
from app.doctor.torch_probe import Build, Held, StepMissingError
from app.host.checks.check import Answer, Check
from tests.doctor.fake_inside import (
    CPU,
    CU117,
    CU118,
    H100,
    L4,
    RTX5090,
    SITE,
    FakeLab,
    FakeNvidia,
    inside,
    maps,
)

NODE = {"/dev/nvidia0": ""}
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n"
CUDART = f"{SITE}/nvidia/cuda_runtime/lib/libcudart.so.11.0"
ONE_CARD = Nvml(0, "535.104.05", 1)


def ask(check: Check[Inside], there: Inside) -> Answer:
    return check.look(there)


def test_there_are_ten_in_order() -> None:
    assert [c.step for c in steps.CHECKS] == list(range(1, 11))


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (inside(), "pass", "no NVIDIA GPU"),
        (inside(FakeLab(cards_=(H100,)), files=NODE), "pass", "NVIDIA H100 80GB HBM3 (80 GiB)"),
        (inside(FakeLab(CPU), files=NODE), "pass", "this torch has no CUDA"),
        (inside(files=NODE, env={"CUDA_VISIBLE_DEVICES": ""}), "pass", "hidden by CUDA_VISIBLE_DEVICES="),
        (
            inside(FakeLab(reason="Error 802: system not yet initialized"), files=NODE),
            "fail",
            "shows no card: Error 802",
        ),
        (inside(files={"/dev/dxg": ""}), "fail", "/dev/dxg is here"),
    ],
)
def test_hardware(there: Inside, status: str, part: str) -> None:
    answer = ask(steps.hardware, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (inside(), "skip", "no NVIDIA driver"),
        (
            inside(nvidia=FakeNvidia(ONE_CARD), files={"/proc/driver/nvidia/version": MODULE}),
            "pass",
            "native for CUDA 11.8",
        ),
        (inside(nvidia=FakeNvidia(Nvml(0, "470.82.01", 1))), "pass", "minor-version compatibility"),
        (inside(nvidia=FakeNvidia(Nvml(0, "418.226.00", 1))), "fail", "needs 450.80.02 or later"),
        (inside(FakeLab(CPU), FakeNvidia(ONE_CARD)), "pass", "no CUDA"),
        (
            inside(nvidia=FakeNvidia(Nvml(0, "535.183.01", 1)), files={"/proc/driver/nvidia/version": MODULE}),
            "fail",
            "library is 535.183.01 and its kernel module is 535.104.05",
        ),
        (inside(nvidia=FakeNvidia(Nvml(18)), files={"/proc/driver/nvidia/version": MODULE}), "pass", "535.104.05"),
    ],
)
def test_driver(there: Inside, status: str, part: str) -> None:
    answer = ask(steps.driver, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (inside(FakeLab(CPU)), "skip", "no CUDA"),
        (inside(nvidia=FakeNvidia(newest=12020, runtime=11080)), "pass", "from torch itself, driver up to 12.2"),
        (
            inside(nvidia=FakeNvidia(runtime=11080), files={"/proc/self/maps": maps(CUDART)}),
            "pass",
            "runtime 11.8 from /venv",
        ),
        (
            inside(
                nvidia=FakeNvidia(runtime=11070),
                files={"/proc/self/maps": maps("/usr/local/cuda/lib64/libcudart.so.11.0")},
            ),
            "fail",
            "built for CUDA 11.8, and /usr/local/cuda/lib64/libcudart.so.11.0 is 11.7",
        ),
    ],
)
def test_cuda(there: Inside, status: str, part: str) -> None:
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
    answer = ask(steps.cudnn, inside(FakeLab(cudnn_=pair)))
    assert (answer.status, part in answer.detail) == (status, True), answer
    assert status != "fail" or "LD_LIBRARY_PATH" in answer.fix or "cudnn-version" in answer.fix


@pytest.mark.parametrize(
    ("there", "status", "part"),
    [
        (inside(), "pass", "2.0.1+cu118 from"),
        (inside(FakeLab(CU117)), "fail", "this environment is 2.0.1+cu118"),
        (inside(FakeLab(Build("2.4.0+cu121", "12.1", (), f"{SITE}/torch/__init__.py"))), "fail", "2.4.0+cu121"),
        (inside(FakeLab(Build("2.0.1+cu118", "11.8", (), "/home/ana/torch/__init__.py"))), "fail", "from /home/ana"),
        (inside(FakeLab(Build("2.4.0", "12.1", (), f"{SITE}/torch/__init__.py")), env={}), "warn", "is made for 2.0.1"),
        (inside(FakeLab(CU117), env={}), "pass", "2.0.1+cu117"),
    ],
)
def test_pytorch(there: Inside, status: str, part: str) -> None:
    answer = ask(steps.pytorch, there)
    assert (answer.status, part in answer.detail) == (status, True), answer


@pytest.mark.parametrize(
    ("lab", "status", "detail"),
    [
        (FakeLab(), "pass", "cpu"),
        (FakeLab(cards_=(L4,)), "pass", "cuda:0, NVIDIA L4"),
        (FakeLab(CU117, (H100,)), "fail", "none for NVIDIA H100 80GB HBM3 (sm_90)"),
        (FakeLab(CU118, (RTX5090, L4.__class__(1, "NVIDIA L4", (8, 9), 1))), "pass", "cuda:1, NVIDIA L4"),
    ],
)
def test_device(lab: FakeLab, status: str, detail: str) -> None:
    answer = ask(steps.device, inside(lab))
    assert (answer.status, detail in answer.detail) == (status, True), answer


OOM = RuntimeError("CUDA out of memory. Tried to allocate 1.00 GiB (GPU 0; 22.00 GiB total capacity)")
MISSING = StepMissingError("no tensors were placed")


@pytest.mark.parametrize(
    ("check", "lab", "status", "part"),
    [
        (steps.place, FakeLab(), "pass", "and back"),
        (steps.place, FakeLab(comes_back=False), "fail", "came back from cpu changed"),
        (steps.place, FakeLab(comes_back=OOM), "fail", "CUDA out of memory"),
        (steps.run_kernels, FakeLab(), "pass", "100.0 ms at first, then 10.00 ms"),
        (steps.run_kernels, FakeLab(seconds=MISSING), "skip", "no tensors were placed: see the steps before"),
        (steps.collect, FakeLab(), "pass", "off by 1.0e-06"),
        (steps.collect, FakeLab(error=0.3), "fail", "off by 3.0e-01"),
        (steps.collect, FakeLab(error=float("nan")), "fail", "off by nan"),
        (steps.free, FakeLab(), "pass", "3 MiB were held, 0 MiB now"),
        (steps.free, FakeLab(held=Held(0, 3 << 20, 3 << 20, 1)), "fail", "3 MiB now"),
        (steps.free, FakeLab(held=MISSING), "skip", "no tensors"),
    ],
)
def test_the_work(check: Check[Inside], lab: FakeLab, status: str, part: str) -> None:
    answer = ask(check, inside(lab))
    assert (answer.status, part in answer.detail) == (status, True), answer


def test_an_error_that_the_catalogue_knows_brings_its_fix() -> None:
    assert "(cuda-out-of-memory)" in ask(steps.place, inside(FakeLab(comes_back=OOM))).fix
