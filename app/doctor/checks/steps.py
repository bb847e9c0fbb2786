"""The ten steps from the hardware to released memory, each one visible line. They run in order, in one process."""

from __future__ import annotations

import os
import re

from app.doctor.checks.libraries import loaded
from app.doctor.context import DoctorContext, guarded, runs_on
from app.doctor.nvidia import dotted
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.variants import TORCH, VARIANTS, Variant

SIZE = 512  # of the square matrices that steps 7 to 9 multiply: milliseconds on a CPU
TOLERANCE = 1e-4  # float32 with 512 products an entry; TF32, which torch leaves off for matmul, would give 1e-3
REINSTALL = "put the locked packages back: `invoke clean` then `invoke up`"
GIB = 2**30


def _cpu(context: DoctorContext) -> str:
    model = re.search(r"^model name\s*:\s*(.+)$", context.world.read("/proc/cpuinfo") or "", re.M)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} x {' '.join(model[1].split())}" if model else f"{cores} CPU cores"


@check("hardware", step=1, limit=60, source="https://github.com/NVIDIA/nvidia-docker/issues/1730")
@guarded("look at `nvidia-smi`")
def hardware(context: DoctorContext) -> Answer:
    """The processor and the GPUs: those that were handed to this process, and those that CUDA shows."""
    cards = context.probe.cards()
    if cards:
        said = ", ".join(f"{c.name} ({c.total / GIB:.0f} GiB)" for c in cards)
        return passed(f"{_cpu(context)}; {said}")
    visible = context.world.env.get("CUDA_VISIBLE_DEVICES")
    if context.nodes and visible in ("", "-1", "NoDevFiles"):
        return passed(f"{_cpu(context)}; the GPUs are hidden by CUDA_VISIBLE_DEVICES={visible}")
    if context.nodes and context.probe.build().cuda is None:
        return passed(f"{_cpu(context)}; there is a GPU, and this torch has no CUDA")
    if context.nodes:
        return failed(
            f"{context.nodes[0]} is here and CUDA shows no card: {context.probe.why_no_cuda() or 'it gives no reason'}",
            "`nvidia-smi` here and on the host; where only the host's works: `invoke down` then `invoke up`",
        )
    return passed(f"{_cpu(context)}; no NVIDIA GPU")


@check(
    "driver",
    needs="an NVIDIA driver",
    step=2,
    source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
)
def driver(context: DoctorContext) -> Answer:
    """The NVIDIA driver as loaded, library and kernel module, against what this torch's CUDA needs."""
    module = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", context.world.read("/proc/driver/nvidia/version") or "")
    nvml = context.nvidia.nvml()
    library = nvml.driver or (module[1] if module else "")
    if not library:
        return skipped("no NVIDIA driver here")
    wsl = "microsoft" in (context.world.read("/proc/version") or "").lower()
    if module and nvml.driver and module[1] != nvml.driver and not wsl:
        return failed(
            f"the driver's library is {nvml.driver} and its kernel module is {module[1]}",
            "reboot the host, then make the container anew: `invoke down` and `invoke up`",
        )
    build = context.probe.build()
    row = _row(build.cuda)
    if row is None or row.drivers is None:
        return passed(
            f"{library}; this torch {'has no CUDA' if build.cuda is None else f'is built for CUDA {build.cuda}'}"
        )
    if not row.drivers.runs(library, wsl=wsl):
        floor = row.drivers.floor_windows if wsl else row.drivers.floor
        return failed(f"{library} is too old: CUDA {row.cuda} needs {floor} or later", "update the host's driver")
    how = "native" if row.drivers.is_native(library, wsl=wsl) else "by minor-version compatibility"
    return passed(f"{library}, {how} for CUDA {row.cuda}")


def _row(cuda: str | None) -> Variant | None:
    return next((v for v in VARIANTS.values() if cuda and v.cuda == cuda), None)


@check("CUDA", needs="a torch with CUDA", step=3, limit=30, source="app/host/variants.py")
@guarded(REINSTALL)
def cuda(context: DoctorContext) -> Answer:
    """The CUDA runtime as loaded, against the one torch was built with and the one the driver knows."""
    built = context.probe.build().cuda
    if built is None:
        return skipped("this torch has no CUDA")
    files = [path for path in loaded(context.world.read("/proc/self/maps") or "") if "/libcudart" in path]
    where = files[0] if files else "torch itself"  # linked in
    number = context.nvidia.runtime_cuda(files[0]) if files else None
    if number and dotted(number) != built:
        return failed(
            f"torch is built for CUDA {built}, and {where} is {dotted(number)}",
            "take the folder with the other libcudart out of LD_LIBRARY_PATH or LD_PRELOAD",
        )
    newest = context.nvidia.driver_cuda()
    runtime = f"runtime {dotted(number)}" if number else "runtime not started"
    driver = f"driver up to {dotted(newest)}" if newest else "no driver"
    return passed(f"built for {built}, {runtime} from {where}, {driver}")


@check("cuDNN", needs="a torch with CUDA", step=4, limit=30, source="https://github.com/pytorch/pytorch/issues/80637")
@guarded("take the folder with the other libcudnn out of LD_LIBRARY_PATH or LD_PRELOAD")
def cudnn(context: DoctorContext) -> Answer:
    """cuDNN as loaded, against the one torch was compiled with: the same major number, and not older."""
    pair = context.probe.cudnn()
    if pair is None:
        return skipped("this torch has no cuDNN")
    compiled, found = pair
    nccl = context.probe.nccl()
    both = f"{found} loaded, compiled against {compiled}" + (f"; NCCL {nccl}" if nccl else "")
    (major, minor), (wanted_major, wanted_minor) = _release(found), _release(compiled)
    if major != wanted_major or minor < wanted_minor:
        return failed(both, "take the folder with the other libcudnn out of LD_LIBRARY_PATH or LD_PRELOAD")
    return passed(both)


def _release(packed: int) -> tuple[int, int]:
    """(major, minor) of cuDNN's number: 8700 is 8.7.0, and from 9 on 91002 is 9.10.2."""
    base = 10000 if packed >= 90000 else 1000
    return packed // base, packed % base // 100


@check("PyTorch", step=5, limit=60, source="app/host/variants.py")
@guarded(REINSTALL)
def pytorch(context: DoctorContext) -> Answer:
    """PyTorch as loaded: the version that this environment was made with, from the file that belongs to it."""
    build = context.probe.build()
    said = f"{build.version} from {build.file}"
    if not build.file.startswith(str(context.site)):
        return failed(f"{said}, not from {context.site}", "take the folder before it out of PYTHONPATH")
    if context.variant and build.version not in (context.variant.torch, TORCH):
        return failed(f"{said}; this environment is {context.variant.torch}", REINSTALL)
    if context.variant is None and not build.version.startswith(f"{TORCH}+"):
        return warned(f"{said}; the workspace is made for {TORCH}", "`invoke up` makes the locked environment")
    return passed(said)


@check("device", step=6, limit=30, source="https://docs.nvidia.com/cuda/ada-compatibility-guide/")
@guarded("look at `nvidia-smi`")
def device(context: DoctorContext) -> Answer:
    """The device that work goes to: the first card that torch has code for, else the CPU."""
    cards = context.probe.cards()
    if not cards:
        return passed("cpu")
    build = context.probe.build()
    without = [c for c in cards if not runs_on(build.archs, c.capability)]
    if len(without) == len(cards):
        have = ", ".join(f"{c.name} (sm_{c.capability[0]}{c.capability[1]})" for c in cards)
        return failed(
            f"cpu: torch {build.version} has code for {' '.join(build.archs)}, none for {have}",
            "`invoke doctor` on the host names the variant that has it, if one does",
        )
    return passed(f"{context.device}, {next(c.name for c in cards if c not in without)}")


@check("place tensors", step=7, limit=60)
@guarded("look at `nvidia-smi`: is another program using the card?")
def place(context: DoctorContext) -> Answer:
    """Tensors go to the device and come back bit for bit."""
    where = context.device
    if not context.probe.place(where, SIZE):
        return failed(f"tensors came back from {where} changed", "this is broken hardware or driver: try another card")
    return passed(f"two {SIZE} x {SIZE} matrices on {where} and back")


@check("run kernels", step=8, limit=60)
@guarded("`app doctor explain` with the text")
def run_kernels(context: DoctorContext) -> Answer:
    """A real matrix multiplication runs on the device."""
    first, again = context.probe.multiply()
    return passed(f"{SIZE} x {SIZE} matmul: {first * 1e3:.1f} ms at first, then {again * 1e3:.2f} ms")


@check("collect results", step=9, limit=30)
@guarded("`app doctor explain` with the text")
def collect(context: DoctorContext) -> Answer:
    """The result comes back and agrees with float64 on the CPU."""
    error = context.probe.collect()
    if not error <= TOLERANCE:
        return failed(
            f"the product is off by {error:.1e}, relative; float32 allows {TOLERANCE:.0e}",
            "the device computes wrong numbers: try another card, and unset NVIDIA_TF32_OVERRIDE",
        )
    return passed(f"off by {error:.1e} from float64, {TOLERANCE:.0e} allowed")


@check("free memory", step=10, limit=30)
@guarded("`app doctor explain` with the text")
def free(context: DoctorContext) -> Answer:
    """The memory that the steps took is released again."""
    held = context.probe.release()
    mib = 2**20
    said = f"{held.during / mib:.0f} MiB were held, {held.after / mib:.0f} MiB now; {held.free / GIB:.1f} GiB free"
    if held.after > held.before:
        return failed(said, "something keeps tensors alive: report it with this line")
    return passed(said)


CHECKS = (hardware, driver, cuda, cudnn, pytorch, device, place, run_kernels, collect, free)
