"""Obstacles on a machine: each function returns the `Problem` with its fix, or None. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import Problem
from app.host.probe.engine import OLDEST_ENGINE, Absence, NoEngine
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host
from app.host.variants import VARIANTS, Variant

GB = 1e9
WITHOUT_GPU = "or continue without the GPU: add `--gpus none`"
_INSTALL = "https://docs.docker.com/engine/install"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
_OLDEST = OLDEST_ENGINE[0]


def engine_obstacle(host: Host) -> Problem | None:
    """Return why the Docker engine cannot be used, or None if it can."""
    engine = host.engine
    if isinstance(engine, NoEngine):
        return _absent(host, engine)
    if engine.too_old:
        return Problem(
            f"Docker {engine.version} is older than {_OLDEST}, the first version that can build the Dockerfile",
            f"upgrade Docker: {_INSTALL}",
        )
    if engine.buildx is None:
        return Problem(
            f"Docker {engine.version} is installed without its buildx plugin",
            "install it: `sudo apt-get install docker-buildx-plugin` (Debian's own package is `docker-buildx`)",
        )
    if engine.compose is None:
        return Problem(
            f"Docker {engine.version} is installed without its compose plugin, version 2",
            "install it: `sudo apt-get install docker-compose-plugin` (Debian's own package is `docker-compose`)",
        )
    return None


def _absent(host: Host, none: NoEngine) -> Problem:
    desktop = host.system == "Darwin" or host.wsl
    address = host.env.get("DOCKER_HOST")
    if none.absence is Absence.NOT_INSTALLED:
        return Problem("Docker is not installed", f"install Docker {_OLDEST} or later: {_INSTALL}")
    if none.absence is Absence.NO_PERMISSION:
        return Problem(
            "Docker is running but this user has no permission on its socket",
            "join the docker group, `sudo usermod -aG docker $USER`, and log in again (or here: `newgrp docker`)",
        )
    if none.absence is Absence.NOT_DOCKER:
        return Problem(
            "`docker` on this machine is Podman, not Docker", f"install Docker {_OLDEST} or later: {_INSTALL}"
        )
    if none.absence is Absence.NO_ANSWER:
        return Problem(
            "the Docker engine did not answer `docker info` within 15 s",
            "restart Docker Desktop" if desktop else "check it, `systemctl status docker`, and restart it",
        )
    if address:
        return Problem(
            f"no Docker engine answers at DOCKER_HOST={address}",
            "correct DOCKER_HOST, or unset it to use this machine's engine",
        )
    return Problem(
        "Docker is installed but its engine is not running",
        "start Docker Desktop" + (" with WSL integration for this distribution" if host.wsl else "")
        if desktop
        else "start it: `sudo systemctl start docker`",
    )


def toolkit_obstacle(host: Host, cards: Sequence[Gpu]) -> Problem | None:
    """Return why the engine cannot give these cards to a container, or None if it can."""
    engine = host.engine
    if not cards or isinstance(engine, NoEngine) or engine.nvidia_runtime or engine.cdi_all:
        return None
    if engine.snap:
        return Problem(
            "Docker from snap cannot reach the NVIDIA Container Toolkit",
            f"replace it, `sudo snap remove docker`, with Docker's own packages ({_INSTALL}) and install the toolkit",
        )
    if engine.desktop and not host.wsl and host.system == "Linux":
        return Problem(
            "Docker Desktop for Linux runs in a virtual machine that has no GPU",
            f"also install Docker Engine ({_INSTALL}; `docker context use default`) and the toolkit",
        )
    return Problem(
        f"Docker {engine.version} cannot give a GPU to a container: the NVIDIA Container Toolkit is not set up",
        f"install it ({_TOOLKIT}), then `sudo nvidia-ctk runtime configure --runtime=docker` and "
        "`sudo systemctl restart docker`",
    )


def driver_obstacle(host: Host) -> Problem | None:
    """Return the problem of a card whose driver does not answer or is too old for every variant; None if it works."""
    gpus = host.gpus
    if gpus.cards:
        floors = [v.drivers for v in VARIANTS.values() if v.drivers]
        if gpus.driver and not any(d.runs(gpus.driver, wsl=host.wsl) for d in floors):
            floor = min(d.floor_windows if host.wsl else d.floor for d in floors)
            return Problem(
                f"NVIDIA driver {gpus.driver} is too old: CUDA 11 needs {floor} or later",
                f"update the driver (535 or later is a good choice), {WITHOUT_GPU}",
            )
        return None
    present = gpus.pci or gpus.kernel_driver or host.wsl
    if not gpus.error or not present or "No devices were found" in gpus.error:
        return None
    if "version mismatch" in gpus.error:
        loaded = f" ({gpus.kernel_driver} is loaded)" if gpus.kernel_driver else ""
        return Problem(
            f"the NVIDIA driver was upgraded and its old kernel module is still loaded{loaded}",
            f"reboot, {WITHOUT_GPU}",
        )
    return Problem(
        f"there is an NVIDIA card but its driver does not answer: {gpus.error.splitlines()[0]}",
        f"make `nvidia-smi` work first (reinstall the driver, or reboot after a kernel update), {WITHOUT_GPU}",
    )


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


def platform_obstacle(host: Host, cards: Sequence[Gpu]) -> Problem | None:
    """Return the problem if torch 2.0.1 has no build for this system and processor (with CUDA if there are cards)."""
    if host.system == "Windows":
        return Problem(
            "the workspace does not run on Windows itself",
            "run it in WSL 2: `wsl --install`, then the same commands there",
        )
    if cards and not host.x86_linux:
        return Problem(
            f"PyTorch 2.0 has no CUDA build for {host.system} on {host.machine}",
            f"use an x86_64 Linux host, {WITHOUT_GPU}",
        )
    return None


def space_obstacle(folder: str, free: int | None, needed_gb: int, what: str) -> Problem | None:
    """Return the problem if `folder` has fewer than `needed_gb` GB (1e9 bytes) free for `what`.

    `free` is in bytes; None means unknown, and passes.
    """
    if free is None or free >= needed_gb * GB:
        return None
    return Problem(
        f"{what} needs about {needed_gb} GB and {folder} has {free / GB:.1f} GB free",
        "free some space (used by Docker: `docker system df`, then `docker builder prune`)"
        if "Docker" in folder
        else "free some space on that disk",
    )
