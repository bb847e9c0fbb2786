"""Checks that run the kernels of training and compare each with float64 on the CPU: app/doctor/reference_kernels.py."""

from __future__ import annotations

from app.doctor.context import DoctorContext, catch_errors
from app.host.checks.check import Answer, check, failed, passed, skipped

WRONG = "the device computes wrong numbers: try another card or driver, and `app doctor` without LD_LIBRARY_PATH"
NO_COMPILER = "install a compiler: `sudo apt-get install -y gcc g++`; without one leave `trainer.compile` off"


def _kernel(context: DoctorContext, name: str) -> Answer:
    """Run one of the reference kernels and compare its error with its tolerance."""
    device = context.device
    run = context.probe.run_kernel(name, device)
    if not run.error <= run.tolerance:
        return failed(f"on {device}: off by {run.error:.1e} from float64, {run.tolerance:.0e} allowed", WRONG)
    note = f" in {run.note}" if run.note else ""
    times = f"{run.first * 1e3:.1f} ms at first, then {run.again * 1e3:.2f} ms"
    return passed(f"on {device}{note}: off by {run.error:.1e} from float64, {run.tolerance:.0e} allowed; {times}")


@check("convolution", limit=60, source="https://github.com/TQTQliu/MVSGaussian/issues/18")
@catch_errors("free the card's memory (`nvidia-smi`), then look at the loaded libraries below")
def convolution(context: DoctorContext) -> Answer:
    """A convolution, which cuDNN computes on a GPU, agrees with float64."""
    return _kernel(context, "convolution")


@check("autocast", limit=60, source="https://pytorch.org/docs/2.0/amp.html")
@catch_errors("train with `trainer.precision=fp32`")
def autocast(context: DoctorContext) -> Answer:
    """A linear layer under autocast, in the half precision that the device has, agrees with float64."""
    return _kernel(context, "autocast")


@check("backward", limit=60, source="https://pytorch.org/docs/2.0/notes/autograd.html")
@catch_errors("`app doctor explain` with the text")
def backward(context: DoctorContext) -> Answer:
    """The gradient of a small network agrees with float64."""
    return _kernel(context, "backward")


@check("optimizer step", limit=60, source="https://arxiv.org/abs/1711.05101")
@catch_errors("`app doctor explain` with the text")
def optimizer(context: DoctorContext) -> Answer:
    """One step of AdamW agrees with float64."""
    return _kernel(context, "optimizer")


@check("torch.compile", needs="a C++ compiler", limit=120, source="https://pytorch.org/docs/2.0/compile/index.html")
@catch_errors(NO_COMPILER)
def compiled(context: DoctorContext) -> Answer:
    """torch.compile compiles one kernel, which agrees with float64. The first run includes the compilation."""
    if obstacle := context.probe.compiler_obstacle():
        return skipped(obstacle)
    return _kernel(context, "compile")
