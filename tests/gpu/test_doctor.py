"""The doctor on a real card: every step runs on it, and every kernel agrees with float64 on the CPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from app.doctor.checks.devices import nvml  # noqa: E402
from app.doctor.context import DoctorContext  # noqa: E402
from app.doctor.isolated import run_isolated  # noqa: E402
from app.doctor.nvidia import NvidiaLibraries  # noqa: E402
from app.doctor.registry import ISOLATED  # noqa: E402
from app.host.checks.check import Result  # noqa: E402


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {r.name: r for r in run_isolated(ISOLATED)}


def test_nothing_fails(results: dict[str, Result]) -> None:
    assert [r for r in results.values() if r.status == "fail"] == []


def test_every_step_is_done_and_on_the_card(results: dict[str, Result]) -> None:
    steps = [r for r in results.values() if r.step]
    # PyTorch itself may be another release than the workspace's on the machine with the card: a warning.
    assert {r.status for r in steps} <= {"pass", "warn"}
    assert results["device"].detail == f"cuda:0, {torch.cuda.get_device_name(0)}"
    assert "on cuda:0 and back" in results["place tensors"].detail


@pytest.mark.parametrize("name", ["convolution", "autocast", "backward", "optimizer step", "torch.compile"])
def test_kernels_run_on_the_card(results: dict[str, Result], name: str) -> None:
    if results[name].status == "skip":
        pytest.skip(results[name].detail)
    assert results[name].detail.startswith("on cuda:0")


def test_libraries_are_cudas_and_each_once(results: dict[str, Result]) -> None:
    assert results["loaded libraries"].detail.endswith("each once, from the locked wheels")


def test_the_card_is_described(results: dict[str, Result]) -> None:
    assert "cards run" in results["architectures"].detail
    assert "GiB free" in results["GPU memory"].detail
    assert "GPU" in results["bfloat16"].detail


def test_nvml_and_the_driver_answer() -> None:
    answer = nvml.look(DoctorContext())
    assert answer.status == "pass", answer
    newest = NvidiaLibraries().driver_cuda()
    assert newest is not None
    assert newest >= 11000
