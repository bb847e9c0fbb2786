"""What can stand in the way on a machine: one function each, with its own sentence and its own fix. All pure."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import Problem
from app.host.probe.engine import OLDEST_ENGINE, Absence, NoEngine
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host
from app.host.variants import VARIANTS, Variant

GB = 1e9
WITHOUT_GPU = "or go on without the GPU: add `--gpus none`"
_INSTALL = "https://docs.docker.com/engine/install"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
_OLDEST = OLDEST_ENGINE[0]


def engine_obstacle(host: Host) -> Problem | None:
    """Why the Docker engine cannot be used, or None where it can."""
    engine = host.engine
    if isinstance(engine, NoEngine):
        return _absent(host, engine)
    if engine.too_old:
        return Problem(
            f"Docker {engine.version} is older than {_OLDEST}, the first whose builder has what the Dockerfile uses",
            f"upgrade Docker: {_INSTALL}",
        )
    if engine.buildx is None:
        return Problem(
            f"Docker {engine.version} is there but its buildx plugin is not",
            "install it: `sudo apt-get install docker-buildx-plugin` (Debian's own package is `docker-buildx`)",
        )
    if engine.compose is None:
        return Problem(
            f"Docker {engine.version} is there but its compose plugin, version 2, is not",
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
            "Docker is running but this user may not use its socket",
            "join its group, `sudo usermod -aG docker $USER`, then log in again (in this shell: `newgrp docker`)",
        )
    if none.absence is Absence.NOT_DOCKER:
        return Problem(
            "`docker` on this machine is Podman, not Docker", f"install Docker {_OLDEST} or later: {_INSTALL}"
        )
    if none.absence is Absence.NO_ANSWER:
        return Problem(
            "the Docker engine does not answer: `docker info` hung for 15 s",
            "restart Docker Desktop" if desktop else "look at it, `systemctl status docker`, and restart it",
        )
    if address:
        return Problem(
            f"no Docker engine answers at DOCKER_HOST={address}",
            "correct DOCKER_HOST, or unset it to use this machine's",
        )
    return Problem(
        "Docker is installed but its engine is not running",
        "start Docker Desktop" + (" with WSL integration for this distribution" if host.wsl else "")
        if desktop
        else "start it: `sudo systemctl start docker`",
    )


def toolkit_obstacle(host: Host, cards: Sequence[Gpu]) -> Problem | None:
    """Why the engine cannot hand these cards to a container, or None where it can."""
    engine = host.engine
    if not cards or isinstance(engine, NoEngine) or engine.nvidia_runtime or engine.cdi_all:
        return None
    if engine.snap:
        return Problem(
            "Docker from snap cannot reach the NVIDIA Container Toolkit",
            f"replace it, `sudo snap remove docker`, by Docker's own packages ({_INSTALL}) and install the toolkit",
        )
    if engine.desktop and not host.wsl and host.system == "Linux":
        return Problem(
            "Docker Desktop for Linux runs in a virtual machine that has no GPU",
            f"use Docker Engine beside it ({_INSTALL}; `docker context use default`) and install the toolkit",
        )
    return Problem(
        f"Docker {engine.version} cannot hand a GPU to a container: the NVIDIA Container Toolkit is not set up",
        f"install it ({_TOOLKIT}), then `sudo nvidia-ctk runtime configure --runtime=docker` and "
        "`sudo systemctl restart docker`",
    )


def driver_obstacle(host: Host) -> Problem | None:
    """A card that is there and whose driver does not answer or is below every variant's floor."""
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
        f"an NVIDIA card is there but its driver does not answer: {gpus.error.splitlines()[0]}",
        f"make `nvidia-smi` work first (reinstall the driver, or reboot after a kernel update), {WITHOUT_GPU}",
    )


def card_obstacle(card: Gpu, variant: Variant | None) -> Problem | None:
    """Why `variant` (None: any) has no code for this card; None where it has or where its capability is unknown."""
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
    """An operating system or processor that no build of torch 2.0.1 was made for."""
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


def space_obstacle(where: str, free: int | None, needed_gb: int, what: str) -> Problem | None:
    """Too little room at `where` (bytes `free`; None is unknown and passes) to make `what`."""
    if free is None or free >= needed_gb * GB:
        return None
    return Problem(
        f"{what} needs about {needed_gb} GB and {where} has {free / GB:.1f} GB free",
        "free some space (Docker's own: `docker system df`, then `docker builder prune`)"
        if "Docker" in where
        else "free some space on that disk",
    )
