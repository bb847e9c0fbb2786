"""Obstacles between a card and its driver, and warnings about cards that do not answer. Pure functions."""

from __future__ import annotations

import re

from app.errors import Problem
from app.host.plan.obstacles import WITHOUT_GPU
from app.host.probe.gpus import NOT_ASKED, Gpu
from app.host.probe.machine import Host
from app.host.variants import VARIANTS, Variant

GOOD = "535 or later is a good choice"
# What the driver says of a card that it has lost; the kernel's log then has Xid 79. nvidia-smi exits with 15.
_LOST = re.compile(r"GPU is lost|fallen off the bus|Unable to determine the device handle|does not answer", re.I)
_NO_DEVICES = "No devices were found"
# Tools of the driver on a machine without a card: not worth a word.
_NO_DRIVER = "couldn't communicate with the"
REVIVE = (
    "reboot to get it back (`sudo dmesg | grep Xid` shows why it went); if it stays away, power the machine off and "
    "reseat the card and its power cable"
)


def driver_obstacle(host: Host) -> Problem | None:
    """Return the problem of a card whose driver does not answer or is too old for every variant; None if it works."""
    gpus = host.gpus
    if gpus.cards:
        return _too_old(host)
    first = gpus.error.splitlines()[0] if gpus.error else ""
    if gpus.crashed:
        # Only a driver that is installed can hang or crash: this is no machine without a GPU.
        return Problem(
            f"the NVIDIA driver cannot be asked for its cards: {gpus.error.splitlines()[-1]}",
            f"reboot (`sudo dmesg | grep -e NVRM -e Xid` shows why it hangs), {WITHOUT_GPU}",
        )
    lost = next((line for line in gpus.error.splitlines() if _LOST.search(line)), None)
    if lost:
        return Problem(f"a card has fallen off the bus: {lost}", f"{REVIVE}; {WITHOUT_GPU}")
    present = gpus.pci or gpus.kernel_driver or host.wsl
    if not gpus.error or not present or _NO_DEVICES in gpus.error:
        return None
    if "version mismatch" in gpus.error:
        loaded = f" ({gpus.kernel_driver} is loaded)" if gpus.kernel_driver else ""
        return Problem(
            f"the NVIDIA driver was upgraded and its old kernel module is still loaded{loaded}",
            f"reboot, {WITHOUT_GPU}",
        )
    return Problem(
        f"there is an NVIDIA card but its driver does not answer: {first}",
        f"make `nvidia-smi` work first (reinstall the driver, or reboot after a kernel update), {WITHOUT_GPU}",
    )


def _too_old(host: Host) -> Problem | None:
    floors = [v.drivers for v in VARIANTS.values() if v.drivers]
    number = host.gpus.driver
    if not number or any(d.runs(number, wsl=host.wsl) for d in floors):
        return None
    floor = min(d.floor_windows if host.wsl else d.floor for d in floors)
    return Problem(
        f"NVIDIA driver {number} is too old: CUDA 11 needs {floor} or later",
        f"update the driver ({GOOD}), {WITHOUT_GPU}",
    )


def driver_warnings(host: Host) -> list[Problem]:
    """Return what nvidia-smi says besides its rows, and why a card that is there is not used; no obstacle is in it."""
    gpus = host.gpus
    if gpus.cards:
        return [_warning(note) for note in gpus.notes]
    if gpus.reason == NOT_ASKED or driver_obstacle(host):
        return []
    if gpus.tool is None and gpus.kernel_driver:
        return [Problem(gpus.reason, "add its folder to PATH, or install the driver's tools (nvidia-utils)")]
    if gpus.tool is None and gpus.pci:
        return [Problem(gpus.reason, f"install NVIDIA's driver ({GOOD}) to train on the GPU")]
    if _NO_DEVICES in gpus.error and gpus.pci:
        return [
            Problem(
                f"an NVIDIA card is on the PCI bus ({gpus.pci[0]}) but its driver lists none",
                "look for NVRM in `sudo dmesg`: the card did not start, or is given to a virtual machine (vfio)",
            )
        ]
    if gpus.error and _NO_DEVICES not in gpus.error and _NO_DRIVER not in gpus.error:
        return [Problem(f"{gpus.reason}; no GPU is used", "make `nvidia-smi` work if this machine has an NVIDIA card")]
    return []


def _warning(note: str) -> Problem:
    if _LOST.search(note):
        return Problem(f"a card is lost, and is left out: {note}", REVIVE)
    if "infoROM" in note:
        fix = "nothing to do: the card works, only its records of errors are damaged"
        return Problem(f"nvidia-smi warns: {note}", fix)
    return Problem(f"nvidia-smi says: {note}", "nothing to do if all cards are listed")


def card_obstacle(card: Gpu, variant: Variant | None) -> Problem | None:
    """Return why `variant` (None: any) has no code for this card; None if it has, or if the capability is unknown."""
    capability = card.capability
    if capability is None:
        return None
    candidates = [variant] if variant else list(VARIANTS.values())
    if any(v.kernel_for(capability) for v in candidates):
        return None
    others = [v.name for v in VARIANTS.values() if v.kernel_for(capability)]
    what = f"GPU {card.index}, {card.name} ({card.sm}), has no code in "
    if variant and others:
        return Problem(
            f"{what}variant {variant.name}: it covers {variant.gpus}", f"use `--variant {others[0]}`, {WITHOUT_GPU}"
        )
    if capability >= (10, 0):
        return Problem(
            f"{what}any build of PyTorch 2.0: Blackwell needs PyTorch 2.7 or later with CUDA 12.8",
            f"train on another card (Kepler to Hopper), {WITHOUT_GPU}",
        )
    return Problem(f"{what}any build of PyTorch 2.0", f"train on another card (Kepler to Hopper), {WITHOUT_GPU}")
