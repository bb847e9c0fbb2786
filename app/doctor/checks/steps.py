"""The ten steps from the hardware to released memory, each a line of the report. They run in order, in one process."""

from __future__ import annotations

from app.doctor.checks.libraries import library_paths
from app.doctor.context import REINSTALL, DoctorContext, catch_errors
from app.doctor.nvidia import cuda_release
from app.hardware.cpu import cpu_name, usable_cores
from app.hardware.nvml import NvmlError
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.probe.gpus import kernel_driver
from app.host.variants import TORCH, VARIANTS, Variant, code_for

SIZE = 512  # of the square matrices that steps 7 to 9 multiply: milliseconds on a CPU
TOLERANCE = 1e-4  # of float32 for sums of 512 products; TF32, off by default for matmul, would give 1e-3
MIB = 2**20
GIB = 2**30


def _cpu(context: DoctorContext) -> str:
    return f"{usable_cores()} x {cpu_name(context.world.read('/proc/cpuinfo') or '')}"


@check("hardware", step=1, limit=60, source="https://github.com/NVIDIA/nvidia-docker/issues/1730")
@catch_errors("look at `nvidia-smi`")
def hardware(context: DoctorContext) -> Answer:
    """CUDA shows the GPUs that this process was given. Also names the processor."""
    cards = context.probe.gpus()
    if cards:
        names = ", ".join(f"{c.name} ({c.memory / GIB:.0f} GiB)" for c in cards)
        return passed(f"{_cpu(context)}; {names}")
    visible = context.world.env.get("CUDA_VISIBLE_DEVICES")
    if context.gpu_nodes and visible in ("", "-1", "NoDevFiles"):
        return passed(f"{_cpu(context)}; the GPUs are hidden by CUDA_VISIBLE_DEVICES={visible}")
    if context.gpu_nodes and context.probe.build().cuda is None:
        return passed(f"{_cpu(context)}; there is a GPU, and this torch has no CUDA")
    if context.gpu_nodes:
        reason = context.probe.cuda_error() or "it gives no reason"
        return failed(
            f"{context.gpu_nodes[0]} is here and CUDA shows no card: {reason}",
            "`nvidia-smi` here and on the host; if only the host's works: `invoke down`, then `invoke up`",
        )
    return passed(f"{_cpu(context)}; no NVIDIA GPU")


@check(
    "driver",
    needs="an NVIDIA driver",
    step=2,
    source="https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
)
def driver(context: DoctorContext) -> Answer:
    """The loaded NVIDIA driver is new enough for torch's CUDA, and its library and kernel module have one version."""
    module = kernel_driver(context.world)
    try:
        library = context.nvidia.driver().version
    except NvmlError:
        library = module or ""
    if not library:
        return skipped("no NVIDIA driver here")
    wsl = "microsoft" in (context.world.read("/proc/version") or "").lower()
    if module and module != library and not wsl:
        return failed(
            f"the driver's library is {library} and its kernel module is {module}",
            "reboot the host, then make a new container: `invoke down`, then `invoke up`",
        )
    build = context.probe.build()
    variant = _variant_of(build.cuda)
    if variant is None or variant.drivers is None:
        return passed(
            f"{library}; this torch {'has no CUDA' if build.cuda is None else f'is built for CUDA {build.cuda}'}"
        )
    if not variant.drivers.runs(library, wsl=wsl):
        floor = variant.drivers.floor_windows if wsl else variant.drivers.floor
        return failed(f"{library} is too old: CUDA {variant.cuda} needs {floor} or later", "update the host's driver")
    how = "native" if variant.drivers.is_native(library, wsl=wsl) else "by minor-version compatibility"
    return passed(f"{library}, {how} for CUDA {variant.cuda}")


def _variant_of(cuda: str | None) -> Variant | None:
    """Return the variant for a CUDA version; None for a version that no variant has."""
    return next((v for v in VARIANTS.values() if cuda and v.cuda == cuda), None)


@check("CUDA", needs="a torch with CUDA", step=3, limit=30, source="app/host/variants.py")
@catch_errors(REINSTALL)
def cuda(context: DoctorContext) -> Answer:
    """The loaded CUDA runtime is the one torch was built with. Also names the newest that the driver supports."""
    built = context.probe.build().cuda
    if built is None:
        return skipped("this torch has no CUDA")
    files = [path for path in library_paths(context.world.read("/proc/self/maps") or "") if "/libcudart" in path]
    file = files[0] if files else "torch itself"  # linked in
    number = context.nvidia.runtime_cuda(files[0]) if files else None
    if number and cuda_release(number) != built:
        return failed(
            f"torch is built for CUDA {built}, and {file} is {cuda_release(number)}",
            "take the folder with the other libcudart out of LD_LIBRARY_PATH or LD_PRELOAD",
        )
    newest = context.nvidia.driver_cuda()
    runtime = f"runtime {cuda_release(number)}" if number else "runtime not started"
    driver = f"driver up to {cuda_release(newest)}" if newest else "no driver"
    return passed(f"built for {built}, {runtime} from {file}, {driver}")


@check("cuDNN", needs="a torch with CUDA", step=4, limit=30, source="https://github.com/pytorch/pytorch/issues/80637")
@catch_errors("take the folder with the other libcudnn out of LD_LIBRARY_PATH or LD_PRELOAD")
def cudnn(context: DoctorContext) -> Answer:
    """The loaded cuDNN has the major version that torch was compiled against, and is not older."""
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
    """Return (major, minor) of a packed cuDNN version: 8700 is 8.7.0, and from 9 on 91002 is 9.10.2."""
    base = 10000 if packed >= 90000 else 1000
    return packed // base, packed % base // 100


@check("PyTorch", step=5, limit=60, source="app/host/variants.py")
@catch_errors(REINSTALL)
def pytorch(context: DoctorContext) -> Answer:
    """The loaded PyTorch is this environment's, in its version and from its folder."""
    build = context.probe.build()
    detail = f"{build.version} from {build.file}"
    if not build.file.startswith(str(context.site)):
        return failed(f"{detail}, not from {context.site}", "take the folder before it out of PYTHONPATH")
    if context.variant and build.version not in (context.variant.torch, TORCH):
        return failed(f"{detail}; this environment is {context.variant.torch}", REINSTALL)
    if context.variant is None and not build.version.startswith(f"{TORCH}+"):
        return warned(f"{detail}; the workspace is made for {TORCH}", "`invoke up` makes the locked environment")
    return passed(detail)


@check("device", step=6, limit=30, source="https://docs.nvidia.com/cuda/ada-compatibility-guide/")
@catch_errors("look at `nvidia-smi`")
def device(context: DoctorContext) -> Answer:
    """torch has code for a card, if there is one. The steps below use the first such card, else the CPU."""
    cards = context.probe.gpus()
    if not cards:
        return passed("cpu")
    build = context.probe.build()
    without = [c for c in cards if not code_for(build.archs, c.capability)]
    if len(without) == len(cards):
        have = ", ".join(f"{c.name} ({c.architecture})" for c in cards)
        return failed(
            f"cpu: torch {build.version} has code for {' '.join(build.archs)}, none for {have}",
            "`invoke doctor` on the host names the variant that has it, if one does",
        )
    return passed(f"{context.device}, {next(c.name for c in cards if c not in without)}")


@check("place tensors", step=7, limit=60)
@catch_errors("look at `nvidia-smi`: is another program using the card?")
def place(context: DoctorContext) -> Answer:
    """Tensors copied to the device come back bit for bit."""
    device = context.device
    if not context.probe.place(device, SIZE):
        return failed(f"tensors came back from {device} changed", "this is broken hardware or driver: try another card")
    return passed(f"two {SIZE} x {SIZE} matrices on {device} and back")


@check("run kernels", step=8, limit=60)
@catch_errors("`app doctor explain` with the text")
def run_kernels(context: DoctorContext) -> Answer:
    """A matrix multiplication runs on the device."""
    first, again = context.probe.multiply()
    return passed(f"{SIZE} x {SIZE} matmul: {first * 1e3:.1f} ms at first, then {again * 1e3:.2f} ms")


@check("collect results", step=9, limit=30)
@catch_errors("`app doctor explain` with the text")
def collect(context: DoctorContext) -> Answer:
    """The product comes back and agrees with float64 on the CPU."""
    error = context.probe.product_error()
    if not error <= TOLERANCE:
        return failed(
            f"the product is off by {error:.1e}, relative; float32 allows {TOLERANCE:.0e}",
            "the device computes wrong numbers: try another card, and unset NVIDIA_TF32_OVERRIDE",
        )
    return passed(f"off by {error:.1e} from float64, {TOLERANCE:.0e} allowed")


@check("free memory", step=10, limit=30)
@catch_errors("`app doctor explain` with the text")
def free(context: DoctorContext) -> Answer:
    """The memory that the steps took is released."""
    memory = context.probe.release()
    held, left = f"{memory.during / MIB:.0f} MiB were held", f"{memory.after / MIB:.0f} MiB now"
    detail = f"{held}, {left}; {memory.free / GIB:.1f} GiB free"
    if memory.after > memory.before:
        return failed(detail, "something keeps tensors alive: report it with this line")
    return passed(detail)
