"""The kernels that training stands on, each run for real and compared with float64 on the CPU; see `trials`."""

from __future__ import annotations

from app.doctor.context import Inside, tried
from app.host.checks.check import Answer, Check, check, failed, passed, skipped

WRONG = "the device computes wrong numbers: try another card or driver, and `app doctor` without LD_LIBRARY_PATH"
NO_COMPILER = "install a compiler: `sudo apt-get install -y gcc g++`; without one leave `trainer.compile` off"


def _kernel(inside: Inside, name: str) -> Answer:
    where = inside.device
    m = inside.lab.trial(name, where)
    if not m.error <= m.tolerance:
        return failed(f"on {where}: off by {m.error:.1e} from float64, {m.tolerance:.0e} allowed", WRONG)
    note = f" in {m.note}" if m.note else ""
    times = f"{m.first * 1e3:.1f} ms at first, then {m.again * 1e3:.2f} ms"
    return passed(f"on {where}{note}: off by {m.error:.1e} from float64, {m.tolerance:.0e} allowed; {times}")


@check("convolution", limit=60, source="https://github.com/TQTQliu/MVSGaussian/issues/18")
@tried("free the card's memory (`nvidia-smi`), then look at the loaded libraries below")
def convolution(inside: Inside) -> Answer:
    """A convolution, which is cuDNN's work on a GPU."""
    return _kernel(inside, "convolution")


@check("autocast", limit=60, source="https://pytorch.org/docs/2.0/amp.html")
@tried("train with `trainer.precision=fp32`")
def autocast(inside: Inside) -> Answer:
    """A linear layer under autocast, in the half precision that the device has."""
    return _kernel(inside, "autocast")


@check("backward", limit=60, source="https://pytorch.org/docs/2.0/notes/autograd.html")
@tried("`app doctor explain` with the text")
def backward(inside: Inside) -> Answer:
    """The gradient of a small network."""
    return _kernel(inside, "backward")


@check("optimizer step", limit=60, source="https://arxiv.org/abs/1711.05101")
@tried("`app doctor explain` with the text")
def optimizer(inside: Inside) -> Answer:
    """One step of AdamW."""
    return _kernel(inside, "optimizer")


@check("torch.compile", needs="a C++ compiler", limit=120, source="https://pytorch.org/docs/2.0/compile/index.html")
@tried(NO_COMPILER)
def compiled(inside: Inside) -> Answer:
    """torch.compile makes one kernel; its first run is the compilation."""
    if obstacle := inside.lab.compiler_obstacle():
        return skipped(obstacle)
    return _kernel(inside, "compile")


CHECKS: tuple[Check[Inside], ...] = (convolution, autocast, backward, optimizer, compiled)
