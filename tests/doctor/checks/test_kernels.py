"""Kernels pass on this machine's CPU, and wrong numbers are found."""

from __future__ import annotations

import math

import pytest
import torch

from app.doctor import registry
from app.doctor.checks import kernels
from app.doctor.context import DoctorContext
from app.doctor.reference_kernels import REFERENCE_KERNELS, KernelRun, difference, time_twice
from app.doctor.torch_probe import StepMissingError, TorchProbe
from app.host.checks.check import Check
from tests.doctor.fake_context import FakeProbe, context

EAGER = [name for name in REFERENCE_KERNELS if name != "compile"]


@pytest.mark.parametrize("name", EAGER)
def test_a_kernel_agrees_with_float64_on_this_cpu(name: str) -> None:
    run = REFERENCE_KERNELS[name]("cpu")
    assert 0 < run.error < run.tolerance / 5  # the tolerance leaves room
    assert run.first > 0
    assert run.again > 0


@pytest.mark.slow
def test_compiled_kernel_agrees_with_float64_on_this_cpu() -> None:
    run = REFERENCE_KERNELS["compile"]("cpu")
    assert run.error < run.tolerance
    assert run.first > 10 * run.again


@pytest.mark.parametrize("name", EAGER)
def test_a_wrong_kernel_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One number in a thousand is off by a tenth of the largest: far above rounding, and easy to overlook."""

    def spoil(got: torch.Tensor, want: torch.Tensor) -> float:
        spoiled = got.detach().double().clone().flatten()
        spoiled[::1000] += want.abs().max() * 0.1
        return difference(spoiled.reshape(want.shape), want)

    monkeypatch.setattr("app.doctor.reference_kernels.difference", spoil)
    run = REFERENCE_KERNELS[name]("cpu")
    assert run.error > run.tolerance


def test_difference_is_relative_and_infinite_for_nan() -> None:
    want = torch.tensor([1.0, -4.0], dtype=torch.float64)
    assert difference(torch.tensor([1.0, -3.0]), want) == 0.25
    assert difference(torch.tensor([1.0, math.nan]), want) == math.inf


def test_time_twice_runs_twice_and_gives_the_last() -> None:
    runs = iter("ab")
    result, first, again = time_twice(lambda: next(runs), "cpu")
    assert (result, list(runs)) == ("b", [])
    assert first >= 0
    assert again >= 0


def test_a_check_reports_error_and_times() -> None:
    answer = kernels.autocast.look(context(FakeProbe(kernel=KernelRun(1e-3, 3e-2, 0.5, 0.002, "bfloat16"))))
    assert (
        answer.detail
        == "on cpu in bfloat16: off by 1.0e-03 from float64, 3e-02 allowed; 500.0 ms at first, then 2.00 ms"
    )


@pytest.mark.parametrize("check", registry.checks_of(kernels), ids=lambda c: c.name)
def test_checks_fail_on_wrong_numbers_and_on_errors(check: Check[DoctorContext]) -> None:
    wrong = check.look(context(FakeProbe(kernel=KernelRun(0.5, 1e-3, 0.1, 0.1))))
    assert (wrong.status, wrong.fix) == ("fail", kernels.WRONG)
    broken = check.look(context(FakeProbe(kernel=RuntimeError("CUDA error: an illegal memory access"))))
    assert (broken.status, broken.detail) == ("fail", "RuntimeError: CUDA error: an illegal memory access")
    assert broken.fix


def test_a_missing_compiler_is_named() -> None:
    error = RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")
    assert "(no-compiler)" in kernels.compiled.look(context(FakeProbe(kernel=error))).fix


def test_a_python_that_the_compiler_does_not_read_skips() -> None:
    answer = kernels.compiled.look(context(FakeProbe(obstacle="torch 2.0 compiles for Python up to 3.10")))
    assert (answer.status, answer.detail) == ("skip", "torch 2.0 compiles for Python up to 3.10")


def test_steps_7_to_10_on_this_cpu() -> None:
    probe = TorchProbe()
    with pytest.raises(StepMissingError):
        probe.multiply()
    assert probe.place("cpu", 64)
    with pytest.raises(StepMissingError):
        probe.product_error()
    assert min(probe.multiply()) > 0
    assert probe.product_error() < 1e-5
    memory = probe.release()
    assert (memory.before, memory.during, memory.after) == (0, 3 * 64 * 64 * 4, 0)
    with pytest.raises(StepMissingError):
        probe.release()


def test_release_finds_a_tensor_that_someone_keeps() -> None:
    probe = TorchProbe()
    probe.place("cpu", 64)
    assert probe._placed is not None
    kept = probe._placed[0]
    assert probe.release().after == kept.numel() * 4


def test_this_torch_is_described() -> None:
    probe = TorchProbe()
    build = probe.build()
    assert build.version == torch.__version__
    assert build.file == torch.__file__
    assert probe.numpy_version()
    if torch.version.cuda == "11.7":
        assert build.archs == ("sm_37", "sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86")
        assert probe.cudnn() == (8500, 8500)
