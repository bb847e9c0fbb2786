"""What `nvidia-smi` and the kernel say about the NVIDIA cards of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.host.variants import Capability, parse_version
from app.host.world import Completed, World

# Compute capability by product name, for drivers before R510, whose nvidia-smi has no `compute_cap` field.
# The first pattern that fits wins, so that a longer name stands before the shorter one it contains.
# Source: developer.nvidia.com/cuda-gpus and cuda-legacy-gpus.
_NAMES: tuple[tuple[str, Capability], ...] = (
    (r"\bGB10\b", (12, 1)),
    (r"RTX 50\d\d|RTX PRO \d+.* Blackwell", (12, 0)),
    (r"\bG?B300\b", (10, 3)),
    (r"\bG?B200\b", (10, 0)),
    (r"\b(H100|H200|H800|H20|GH200)\b", (9, 0)),
    (r"\bL(4|20|40S?)\b|RTX 40\d\d|RTX \d+ .*Ada", (8, 9)),
    (r"\bOrin\b", (8, 7)),
    (r"\bA(2|10G?|10M|16|40)\b|RTX A\d+|RTX 30\d\d", (8, 6)),
    (r"\bA(100|30|800)\b", (8, 0)),
    (r"\bT(4G?|400|500|600|1000|1200)\b|RTX 20\d\d|GTX 16\d\d|TITAN RTX|Quadro RTX", (7, 5)),
    (r"\bV100\b|TITAN V\b|Quadro GV100", (7, 0)),
    (r"\bP(4|40|6)\b|GTX 10\d\d|TITAN Xp?\b.*Pascal|TITAN Xp|Quadro P\d+", (6, 1)),
    (r"\bP100\b|Quadro GP100", (6, 0)),
    (r"\bM(4|40|6|60)\b|GTX 9\d\d|TITAN X\b|Quadro M\d+", (5, 2)),
    (r"GTX 7[45]0|Quadro K[12]200", (5, 0)),
    (r"\bK80\b", (3, 7)),
    (r"\bK(20|40)[a-z]?\b|GTX 780|TITAN Black", (3, 5)),
)

_FIELDS = ("index", "name", "uuid", "driver_version", "memory.total", "compute_cap")
_WSL_TOOL = "/usr/lib/wsl/lib/nvidia-smi"  # where WSL puts it; not on PATH for every shell


@dataclass(frozen=True)
class Gpu:
    """One card. `capability` is None where neither the driver nor the name tells; memory in MiB."""

    index: int
    name: str
    uuid: str = ""
    memory_mib: int | None = None
    capability: Capability | None = None

    @property
    def sm(self) -> str:
        """`sm_90`, or `sm_?`."""
        return "sm_?" if self.capability is None else "sm_{}{}".format(*self.capability)


@dataclass(frozen=True)
class Gpus:
    """Every card that the driver shows, or why it shows none.

    `kernel_driver` is the version of the loaded kernel module and may differ from `driver` after an upgrade without a
    reboot. `pci` lists NVIDIA display devices on the bus, whether or not a driver is loaded. `said` is what nvidia-smi
    printed where it failed.
    """

    cards: tuple[Gpu, ...] = ()
    driver: str | None = None
    kernel_driver: str | None = None
    pci: tuple[str, ...] = ()
    tool: str | None = None
    said: str = ""
    reason: str = field(default="")  # one sentence: why there are no cards; empty where there are some


def detect_gpus(world: World) -> Gpus:
    """Ask nvidia-smi for the cards, the kernel for its module and the bus for what is plugged in."""
    kernel = kernel_driver(world)
    pci = _on_the_bus(world)
    tool = world.which("nvidia-smi") or (_WSL_TOOL if world.exists(_WSL_TOOL) else None)
    if tool is None:
        reason = (
            f"an NVIDIA card is on the bus ({pci[0]}) but no driver: nvidia-smi is not there"
            if pci
            else "no NVIDIA driver: nvidia-smi is not there"
        )
        return Gpus(kernel_driver=kernel, pci=pci, reason=reason)
    answer = _query(world, tool, _FIELDS)
    fields: Sequence[str] = _FIELDS
    if not answer.ok and "compute_cap" in answer.out + answer.err:
        fields = _FIELDS[:-1]
        answer = _query(world, tool, fields)
    said = (answer.out + answer.err).strip()
    if not answer.ok or "No devices were found" in said:
        first = said.splitlines()[0] if said else f"exit code {answer.code}"
        return Gpus(kernel_driver=kernel, pci=pci, tool=tool, said=said, reason=f"nvidia-smi says: {first}")
    rows = [dict(zip(fields, (cell.strip() for cell in line.split(",")))) for line in answer.out.splitlines() if line]
    if not rows:
        return Gpus(kernel_driver=kernel, pci=pci, tool=tool, reason="nvidia-smi lists no card")
    return Gpus(
        cards=tuple(_card(row) for row in rows),
        driver=rows[0].get("driver_version"),
        kernel_driver=kernel,
        pci=pci,
        tool=tool,
    )


def capability_of(name: str) -> Capability | None:
    """Compute capability of a product name as nvidia-smi prints it, or None where the table does not know it."""
    return next((capability for pattern, capability in _NAMES if re.search(pattern, name)), None)


def _query(world: World, tool: str, fields: Sequence[str]) -> Completed:
    # Without persistence mode the driver initialises every card first: seconds on a machine with eight.
    return world.run([tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], timeout=30)


def _card(row: dict[str, str]) -> Gpu:
    capability = parse_version(row.get("compute_cap", ""))
    memory = row.get("memory.total", "")
    return Gpu(
        index=int(row["index"]) if row["index"].isdigit() else 0,
        name=row.get("name", ""),
        uuid=row.get("uuid", ""),
        memory_mib=int(memory) if memory.isdigit() else None,  # unified-memory devices answer [N/A]
        capability=(capability[0], capability[1]) if len(capability) == 2 else capability_of(row.get("name", "")),
    )


def kernel_driver(world: World) -> str | None:
    """Return the version of the loaded kernel module of the driver; None if none is loaded."""
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", world.read("/proc/driver/nvidia/version") or "")
    return match[1] if match else None


def _on_the_bus(world: World) -> tuple[str, ...]:
    """PCI addresses of NVIDIA display devices (vendor 10de, class 03)."""
    found = []
    for vendor in world.glob("/sys/bus/pci/devices/*/vendor"):
        folder = vendor.rsplit("/", 1)[0]
        if (world.read(vendor) or "").strip() == "0x10de" and (world.read(f"{folder}/class") or "").startswith("0x03"):
            found.append(folder.rsplit("/", 1)[1])
    return tuple(found)
