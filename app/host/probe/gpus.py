"""Detect the NVIDIA cards of this machine with `nvidia-smi`, the kernel and the PCI bus."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.host.variants import Capability, parse_version
from app.host.world import TIMED_OUT, Completed, World

# Compute capability by product name, for drivers before R510, whose nvidia-smi has no `compute_cap` field.
# The first pattern that matches wins, so a longer name comes before a shorter one that it contains.
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
_WSL_TOOL = "/usr/lib/wsl/lib/nvidia-smi"  # WSL's folder is not on PATH in every shell
# Without persistence mode the driver first initialises every card: seconds for eight of them. Beyond this, it hangs.
_DEADLINE = 20.0
_SPLITTABLE: tuple[Capability, ...] = ((8, 0), (9, 0))  # cards that can be split into MIG devices, of those that run
NOT_ASKED = "nvidia-smi was not asked, because no GPU is wanted"


@dataclass(frozen=True)
class MigDevice:
    """A part of a card that is split: its profile, `1g.5gb`, and the id by which CUDA_VISIBLE_DEVICES names it."""

    profile: str
    uuid: str


@dataclass(frozen=True)
class Gpu:
    """One card. `capability` is None if neither the driver nor the product name gives it; memory in MiB."""

    index: int
    name: str
    uuid: str = ""
    memory_mib: int | None = None
    capability: Capability | None = None
    parts: tuple[MigDevice, ...] = ()

    @property
    def sm(self) -> str:
        """The architecture name: `sm_90`, or `sm_?` if it is unknown."""
        return "sm_?" if self.capability is None else "sm_{}{}".format(*self.capability)


@dataclass(frozen=True)
class Gpus:
    """The cards that the driver lists, or the reason why it lists none.

    `kernel_driver` is the version of the loaded kernel module; it may differ from `driver` after an upgrade without a
    reboot. `pci` lists the NVIDIA display devices on the bus, whether or not a driver is loaded. `notes` is what
    nvidia-smi says besides its rows: warnings, and cards that do not answer. `error` is the output of an nvidia-smi
    that lists no card; `crashed` if it was killed or hung instead of saying why. `reason` is one sentence, empty if
    there are cards.
    """

    cards: tuple[Gpu, ...] = ()
    driver: str | None = None
    kernel_driver: str | None = None
    pci: tuple[str, ...] = ()
    tool: str | None = None
    notes: tuple[str, ...] = ()
    error: str = ""
    crashed: bool = False
    reason: str = ""


def detect_gpus(world: World, ask: bool = True) -> Gpus:
    """Return the cards from nvidia-smi, the kernel module's version and the display devices on the bus.

    Unless `ask`, nvidia-smi is not run: it takes seconds on some machines, and hangs if a card does.
    """
    kernel = kernel_driver(world)
    pci = _pci_devices(world)
    tool = world.which("nvidia-smi") or (_WSL_TOOL if world.exists(_WSL_TOOL) else None)
    if tool is None:
        return Gpus(kernel_driver=kernel, pci=pci, reason=_without_tool(kernel, pci))
    if not ask:
        return Gpus(kernel_driver=kernel, pci=pci, tool=tool, reason=NOT_ASKED)
    answer = _query(world, tool, _FIELDS)
    fields: Sequence[str] = _FIELDS
    if not answer.ok and "compute_cap" in answer.out + answer.err:
        fields = _FIELDS[:-1]
        answer = _query(world, tool, fields)
    rows, notes = _rows(answer, fields)
    if rows:
        parts = _parts(world, tool) if any(_capability(row) in _SPLITTABLE for row in rows) else {}
        return Gpus(
            cards=tuple(_card(row, parts.get(row["index"], ())) for row in rows),
            driver=next((row["driver_version"] for row in rows if parse_version(row["driver_version"])), None),
            kernel_driver=kernel,
            pci=pci,
            tool=tool,
            notes=notes,
        )
    ending = [f"nvidia-smi was killed by signal {-answer.code}"] if answer.code < 0 else []
    error = "\n".join([*notes, *ending]) or (f"exit code {answer.code}" if answer.code else "")
    crashed = answer.code < 0 or answer.code == TIMED_OUT
    reason = f"nvidia-smi reports: {error.splitlines()[0]}" if error else "nvidia-smi lists no card"
    return Gpus(kernel_driver=kernel, pci=pci, tool=tool, error=error, crashed=crashed, reason=reason)


def capability_of(name: str) -> Capability | None:
    """Return the compute capability of a product name as nvidia-smi prints it; None if the table lacks it."""
    return next((capability for pattern, capability in _NAMES if re.search(pattern, name)), None)


def _without_tool(kernel: str | None, pci: Sequence[str]) -> str:
    if kernel:
        return f"NVIDIA driver {kernel} is loaded but nvidia-smi, which lists its cards, is not on PATH"
    if pci:
        return f"an NVIDIA card is on the PCI bus ({pci[0]}) but it has no driver: nvidia-smi is not installed"
    return "no NVIDIA driver: nvidia-smi is not installed"


def _query(world: World, tool: str, fields: Sequence[str]) -> Completed:
    return world.run([tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"], timeout=_DEADLINE)


def _rows(answer: Completed, fields: Sequence[str]) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Return (rows of the cards that answer, what else nvidia-smi says), whatever its exit code.

    Warnings stand among the rows, and some set an exit code: 14 is a corrupted infoROM, with which the card works.
    """
    rows, notes = [], []
    for line in filter(None, map(str.strip, (answer.out + "\n" + answer.err).splitlines())):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(fields) or not cells[0].isdigit():
            notes.append(line)
        elif _answers(cells[1]):
            rows.append(dict(zip(fields, cells)))
        else:
            notes.append(f"GPU {cells[0]} does not answer: {cells[1].strip('[]')}")
    return rows, tuple(dict.fromkeys(notes))


def _answers(name: str) -> bool:
    """Return whether a card's name is one: for a card that is gone it is `[GPU is lost]` or `[Unknown Error]`."""
    return bool(name) and not name.startswith("[") and name not in ("ERR!", "N/A", "Unknown Error")


def _parts(world: World, tool: str) -> dict[str, tuple[MigDevice, ...]]:
    """Return the MIG devices of each card, by the card's index: a card that is split is used through them only."""
    found: dict[str, tuple[MigDevice, ...]] = {}
    index = ""
    for line in world.run([tool, "-L"], timeout=_DEADLINE).out.splitlines():
        if card := re.match(r"GPU (\d+):", line):
            index = card[1]
        elif part := re.match(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)", line):
            found[index] = (*found.get(index, ()), MigDevice(part[1], part[2]))
    return found


def _capability(row: dict[str, str]) -> Capability | None:
    answered = parse_version(row.get("compute_cap", ""))
    return (answered[0], answered[1]) if len(answered) == 2 else capability_of(row["name"])


def _card(row: dict[str, str], parts: tuple[MigDevice, ...]) -> Gpu:
    memory = row["memory.total"]
    return Gpu(
        index=int(row["index"]),
        name=row["name"],
        uuid=row["uuid"],
        memory_mib=int(memory) if memory.isdigit() else None,  # unified-memory devices answer [N/A]
        capability=_capability(row),
        parts=parts,
    )


def kernel_driver(world: World) -> str | None:
    """Return the version of the loaded kernel module of the driver; None if none is loaded."""
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", world.read("/proc/driver/nvidia/version") or "")
    return match[1] if match else None


def _pci_devices(world: World) -> tuple[str, ...]:
    """Return the PCI addresses of NVIDIA display devices (vendor 10de, class 03)."""
    found = []
    for vendor in world.glob("/sys/bus/pci/devices/*/vendor"):
        folder = vendor.rsplit("/", 1)[0]
        if (world.read(vendor) or "").strip() == "0x10de" and (world.read(f"{folder}/class") or "").startswith("0x03"):
            found.append(folder.rsplit("/", 1)[1])
    return tuple(found)
