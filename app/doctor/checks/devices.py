"""What the GPUs can do, alone and together. Everything here skips where there is none."""

from __future__ import annotations

import re

from app.doctor.context import DoctorContext, guarded, runs_on
from app.doctor.nvidia import NVML_SUCCESS
from app.host.checks.check import Answer, check, failed, passed, skipped, warned

GIB = 2**30
NO_GPU = "no GPU here"


@check("architectures", needs="a GPU", limit=30, source="https://docs.nvidia.com/cuda/ada-compatibility-guide/")
@guarded("look at `nvidia-smi`")
def architectures(context: DoctorContext) -> Answer:
    """Every card's compute capability against the architectures that this torch has code for."""
    build = context.probe.build()
    cards = context.probe.cards()
    if not cards:
        return skipped(NO_GPU)
    without = [
        f"{c.index} {c.name} (sm_{c.capability[0]}{c.capability[1]})"
        for c in cards
        if not runs_on(build.archs, c.capability)
    ]
    if without:
        return failed(
            f"no code for {', '.join(without)} in {' '.join(build.archs)}",
            "leave it out with CUDA_VISIBLE_DEVICES, or bring up the variant that `invoke doctor` names on the host",
        )
    return passed(f"{len(cards)} of {len(cards)} cards run {' '.join(build.archs)}")


@check("GPU memory", needs="a GPU", limit=30, source="https://pytorch.org/docs/2.0/notes/cuda.html#memory-management")
@guarded("look at `nvidia-smi`")
def memory(context: DoctorContext) -> Answer:
    """Free memory of each card; a card that others have filled is a warning."""
    cards = context.probe.cards()
    if not cards:
        return skipped(NO_GPU)
    free = {card: context.probe.free(card.index) for card in cards}
    said = ", ".join(f"{c.index}: {free[c] / GIB:.1f} of {c.total / GIB:.1f} GiB free" for c in cards)
    if full := [c for c in cards if free[c] < c.total / 2]:
        return warned(said, f"`nvidia-smi` shows who uses card {full[0].index}; CUDA_VISIBLE_DEVICES leaves it out")
    return passed(said)


@check("bfloat16", limit=30, source="https://developer.nvidia.com/cuda-gpus")
@guarded("look at `nvidia-smi`")
def bfloat16(context: DoctorContext) -> Answer:
    """Whether CPU and GPU multiply bfloat16 themselves; it works everywhere, slowly where they do not."""
    flags = re.search(r"^flags\s*:(.*)$", context.world.read("/proc/cpuinfo") or "", re.M)
    found = [name for name in ("amx_bf16", "avx512_bf16") if flags and name in flags[1].split()]
    cpu = f"CPU with {found[0]}" if found else "CPU emulates it"
    if not context.probe.cards():
        return passed(cpu)
    return passed(
        f"{cpu}; GPU {'has it' if context.probe.bf16() else 'does not have it: use trainer.precision=fp16 there'}"
    )


@check(
    "peer access",
    needs="two GPUs",
    limit=30,
    source="https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html",
)
@guarded("look at `nvidia-smi topo -m`")
def peer_access(context: DoctorContext) -> Answer:
    """Whether the cards reach each other's memory directly; where not, NCCL goes through the host's."""
    cards = context.probe.cards()
    if len(cards) < 2:
        return skipped(f"{len(cards)} GPUs here")
    if apart := context.probe.peers():
        pairs = ", ".join(f"{a}-{b}" for a, b in apart)
        return warned(
            f"no direct way between cards {pairs}: all-reduce goes through main memory",
            "give /dev/shm room (`--shm-size=8g`); `nvidia-smi topo -m` shows the wiring, BIOS and IOMMU may forbid it",
        )
    return passed(f"all {len(cards)} cards reach each other")


@check("NVML", needs="a GPU", quick=True, limit=15, source="https://github.com/NVIDIA/nvidia-docker/issues/1730")
def nvml(context: DoctorContext) -> Answer:
    """NVML answers. In a container that has lost its GPU it is the first that does not."""
    answer = context.nvidia.nvml()
    if answer.code == NVML_SUCCESS:
        if answer.cards < len([node for node in context.nodes if node != "/dev/dxg"]):
            return failed(
                f"NVML shows {answer.cards} cards, {len(context.nodes)} device nodes are here",
                "a card has fallen off the bus: `sudo dmesg | grep -i xid` on the host, then reboot it",
            )
        return passed(f"driver {answer.driver}, {answer.cards} cards")
    if answer.code is None and not context.nodes:
        return skipped(NO_GPU)
    if answer.code is None:
        return failed(
            f"{context.nodes[0]} is here and libnvidia-ml.so.1 is not",
            "give the container the `utility` driver capability: NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    fixes = {
        18: "reboot the host, then `invoke down` and `invoke up`",
        999: "the container has lost its GPU: `invoke down`, then `invoke up`; CDI prevents it",
    }
    return failed(f"Failed to initialize NVML: {answer.text}", fixes.get(answer.code, "`nvidia-smi` on the host first"))


CHECKS = (architectures, memory, bfloat16, peer_access, nvml)
