"""Checks of the GPUs, one by one and together. All but bfloat16 skip if there is no GPU."""

from __future__ import annotations

from app.doctor.context import REINSTALL, DoctorContext, catch_errors
from app.hardware.cpu import bf16_instructions, cpu_flags
from app.hardware.nvml import NvmlError, PynvmlMissingError
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.variants import code_for

GIB = 2**30
NO_GPU = "no GPU here"


@check("architectures", needs="a GPU", limit=30, source="https://docs.nvidia.com/cuda/ada-compatibility-guide/")
@catch_errors("look at `nvidia-smi`")
def architectures(context: DoctorContext) -> Answer:
    """torch has code for the compute capability of every card."""
    build = context.probe.build()
    cards = context.probe.gpus()
    if not cards:
        return skipped(NO_GPU)
    without = [f"{c.index} {c.name} ({c.architecture})" for c in cards if not code_for(build.archs, c.capability)]
    if without:
        return failed(
            f"no code for {', '.join(without)} in {' '.join(build.archs)}",
            "leave it out with CUDA_VISIBLE_DEVICES, or bring up the variant that `invoke doctor` names on the host",
        )
    return passed(f"{len(cards)} of {len(cards)} cards run {' '.join(build.archs)}")


@check("GPU memory", needs="a GPU", limit=30, source="https://pytorch.org/docs/2.0/notes/cuda.html#memory-management")
@catch_errors("look at `nvidia-smi`")
def memory(context: DoctorContext) -> Answer:
    """At least half of each card's memory is free."""
    cards = context.probe.gpus()
    if not cards:
        return skipped(NO_GPU)
    free = {card: context.probe.free_memory(card.index) for card in cards}
    detail = ", ".join(f"{c.index}: {free[c] / GIB:.1f} of {c.memory / GIB:.1f} GiB free" for c in cards)
    if full := [c for c in cards if free[c] < c.memory / 2]:
        return warned(detail, f"`nvidia-smi` shows who uses card {full[0].index}; CUDA_VISIBLE_DEVICES leaves it out")
    return passed(detail)


@check("bfloat16", limit=30, source="https://developer.nvidia.com/cuda-gpus")
@catch_errors("look at `nvidia-smi`")
def bfloat16(context: DoctorContext) -> Answer:
    """Whether CPU and GPU have instructions for bfloat16; if not, it works and is slow."""
    instructions = bf16_instructions(cpu_flags(context.world.read("/proc/cpuinfo") or ""))
    cpu = f"CPU with {instructions}" if instructions else "CPU emulates it"
    if not context.probe.gpus():
        return passed(cpu)
    gpu = "has it" if context.probe.gpu_has_bf16() else "does not have it: use trainer.precision=fp16 there"
    return passed(f"{cpu}; GPU {gpu}")


@check(
    "peer access",
    needs="two GPUs",
    limit=30,
    source="https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html",
)
@catch_errors("look at `nvidia-smi topo -m`")
def peer_access(context: DoctorContext) -> Answer:
    """The cards read each other's memory directly; if not, NCCL copies through main memory."""
    cards = context.probe.gpus()
    if len(cards) < 2:
        return skipped(f"{len(cards)} GPUs here")
    if pairs := context.probe.pairs_without_peer_access():
        names = ", ".join(f"{a}-{b}" for a, b in pairs)
        return warned(
            f"no direct way between cards {names}: all-reduce goes through main memory",
            "give /dev/shm room (`--shm-size=8g`); `nvidia-smi topo -m` shows the wiring, BIOS and IOMMU may forbid it",
        )
    return passed(f"all {len(cards)} cards reach each other")


@check("NVML", needs="a GPU", quick=True, limit=15, source="https://github.com/NVIDIA/nvidia-docker/issues/1730")
def nvml(context: DoctorContext) -> Answer:
    """NVML answers and shows every GPU. In a container that has lost its GPU, it is the first thing to fail."""
    nodes = context.gpu_nodes
    try:
        driver = context.nvidia.driver()
    except NvmlError as error:
        return _nvml_failure(error, nodes)
    if driver.gpus < len([node for node in nodes if node != "/dev/dxg"]):
        return failed(
            f"NVML shows {driver.gpus} cards, {len(nodes)} device nodes are here",
            "a card has fallen off the bus: `sudo dmesg | grep -i xid` on the host, then reboot it",
        )
    return passed(f"driver {driver.version}, {driver.gpus} cards")


def _nvml_failure(error: NvmlError, nodes: list[str]) -> Answer:
    """Return what to report if NVML does not answer, given the GPUs' device files."""
    if error.code is None and not nodes:
        return skipped(NO_GPU)
    if isinstance(error, PynvmlMissingError):
        return failed(str(error), REINSTALL)
    if error.code is None:
        return failed(
            f"{nodes[0]} is here and libnvidia-ml.so.1 is not",
            "give the container the `utility` driver capability: NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    fixes = {
        18: "reboot the host, then `invoke down` and `invoke up`",
        999: "the container has lost its GPU: `invoke down`, then `invoke up`; CDI prevents it",
    }
    return failed(f"Failed to initialize NVML: {error}", fixes.get(error.code, "`nvidia-smi` on the host first"))
