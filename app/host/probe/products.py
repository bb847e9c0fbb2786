"""Name the engine: Docker Engine, Docker Desktop, Colima and others need different advice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENGINE = "Docker Engine"
DESKTOP = "Docker Desktop"
SNAP = "Docker from snap"
ROOTLESS = "rootless Docker"
PODMAN = "Podman"
# Engines in a virtual machine: their disk is not this machine's, and on Linux they have no GPU.
VIRTUAL = (DESKTOP, "Colima", "Rancher Desktop", "OrbStack", "Lima")

# Parts of a socket's path. Each product documents its own: ~/.colima/default/docker.sock and so on.
_SOCKETS = (
    ("podman", PODMAN),
    ("/.colima/", "Colima"),
    ("/.rd/", "Rancher Desktop"),
    ("/.orbstack/", "OrbStack"),
    ("/.lima/", "Lima"),
    ("/.docker/", DESKTOP),
    ("/run/user/", ROOTLESS),
)
_CONTEXTS = (
    ("colima", "Colima"),
    ("rancher-desktop", "Rancher Desktop"),
    ("orbstack", "OrbStack"),
    ("lima-", "Lima"),
    ("desktop-", DESKTOP),
    ("rootless", ROOTLESS),
)


def product_of(address: str, program: str, context: str = "", info: Mapping[str, Any] | None = None) -> str:
    """Return the engine's name, from what it says about itself (`docker info`), else from its address and context.

    `program` is the path of the docker command, by which snap is known.
    """
    name = _by_info(info) if info else ""
    name = name or next((n for part, n in _SOCKETS if part in address), "")
    name = name or next((n for start, n in _CONTEXTS if context.startswith(start)), "")
    return name or (SNAP if program.startswith("/snap/") else ENGINE)


def _by_info(info: Mapping[str, Any]) -> str:
    system, host, root = (str(info.get(key) or "") for key in ("OperatingSystem", "Name", "DockerRootDir"))
    if system in (DESKTOP, "OrbStack"):
        return system
    if "containers/storage" in root:
        return PODMAN
    if root.startswith("/var/snap/"):
        return SNAP
    if host.startswith("colima"):
        return "Colima"
    if "rancher" in f"{host} {system}".lower():
        return "Rancher Desktop"
    if host.startswith("lima-"):
        return "Lima"
    return ROOTLESS if "name=rootless" in (info.get("SecurityOptions") or []) else ""
