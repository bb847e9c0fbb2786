"""The kernels that training stands on, each run for real and compared with float64 on the CPU; see `trials`."""

from __future__ import annotations

from app.doctor.context import DoctorContext, guarded
from app.host.checks.check import Answer, Check, check, failed, passed, skipped

WRONG = "the device computes wrong numbers: try another card or driver, and `app doctor` without LD_LIBRARY_PATH"
NO_COMPILER = "install a compiler: `sudo apt-get install -y gcc g++`; without one leave `trainer.compile` off"


def _kernel(context: DoctorContext, name: str) -> Answer:
    where = context.device
    m = context.probe.trial(name, where)
    if not m.error <= m.tolerance:
        return failed(f"on {where}: off by {m.error:.1e} from float64, {m.tolerance:.0e} allowed", WRONG)
    note = f" in {m.note}" if m.note else ""
    times = f"{m.first * 1e3:.1f} ms at first, then {m.again * 1e3:.2f} ms"
    return passed(f"on {where}{note}: off by {m.error:.1e} from float64, {m.tolerance:.0e} allowed; {times}")


@check("convolution", limit=60, source="https://github.com/TQTQliu/MVSGaussian/issues/18")
@guarded("free the card's memory (`nvidia-smi`), then look at the loaded libraries below")
def convolution(context: DoctorContext) -> Answer:
    """A convolution, which is cuDNN's work on a GPU."""
    return _kernel(context, "convolution")


@check("autocast", limit=60, source="https://pytorch.org/docs/2.0/amp.html")
@guarded("train with `trainer.precision=fp32`")
def autocast(context: DoctorContext) -> Answer:
    """A linear layer under autocast, in the half precision that the device has."""
    return _kernel(context, "autocast")


@check("backward", limit=60, source="https://pytorch.org/docs/2.0/notes/autograd.html")
@guarded("`app doctor explain` with the text")
def backward(context: DoctorContext) -> Answer:
    """The gradient of a small network."""
    return _kernel(context, "backward")


@check("optimizer step", limit=60, source="https://arxiv.org/abs/1711.05101")
@guarded("`app doctor explain` with the text")
def optimizer(context: DoctorContext) -> Answer:
    """One step of AdamW."""
    return _kernel(context, "optimizer")


@check("torch.compile", needs="a C++ compiler", limit=120, source="https://pytorch.org/docs/2.0/compile/index.html")
@guarded(NO_COMPILER)
def compiled(context: DoctorContext) -> Answer:
    """torch.compile makes one kernel; its first run is the compilation."""
    if obstacle := context.probe.compiler_obstacle():
        return skipped(obstacle)
    return _kernel(context, "compile")


CHECKS: tuple[Check[DoctorContext], ...] = (convolution, autocast, backward, optimizer, compiled)
