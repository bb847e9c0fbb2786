"""Obstacles on the way to Docker: each function returns the `Problem` with a fix that fits the engine, or None."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.errors import Problem
from app.host.addresses import without_password
from app.host.probe.engine import OLDEST_ENGINE, OLDEST_PLUGINS, Absence, Engine, NoEngine
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host
from app.host.probe.products import DESKTOP, ENGINE, PODMAN, ROOTLESS, SNAP
from app.host.variants import parse_version

_INSTALL = "https://docs.docker.com/engine/install"
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
_OLDEST = OLDEST_ENGINE[0]
# How each engine is started, and started again when it hangs.
_START = {
    ENGINE: ("`sudo systemctl start docker`", "`sudo systemctl restart docker`"),
    DESKTOP: ("start Docker Desktop", "restart Docker Desktop"),
    SNAP: ("`sudo snap start docker`", "`sudo snap restart docker`"),
    ROOTLESS: ("`systemctl --user start docker`", "`systemctl --user restart docker`"),
    "Colima": ("`colima start`", "`colima restart`"),
    "Rancher Desktop": ("start Rancher Desktop", "restart Rancher Desktop"),
    "OrbStack": ("start OrbStack", "restart OrbStack"),
    "Lima": ("`limactl start docker`", "`limactl stop docker`, then `limactl start docker`"),
}


def engine_obstacle(host: Host) -> Problem | None:
    """Return why the Docker engine cannot be used, or None if it can."""
    engine = host.engine
    if isinstance(engine, NoEngine):
        return _absent(host, engine)
    if engine.remote:
        return _remote(host, engine)
    if engine.product == PODMAN:
        return _podman(host)
    if engine.too_old:
        return Problem(
            f"Docker {engine.version} is older than {_OLDEST}, the first version that can build the Dockerfile",
            "update Docker Desktop" if engine.desktop else f"upgrade Docker: {_INSTALL}",
        )
    return plugin_obstacle(engine, "buildx") or plugin_obstacle(engine, "compose")


def plugin_obstacle(engine: Engine, name: str) -> Problem | None:
    """Return why the plugin `buildx` or `compose` cannot be used: missing, broken or too old; None if it can."""
    install = f"`sudo apt-get install docker-{name}-plugin` (Debian's own package is `docker-{name}`)"
    if engine.in_virtual_machine:
        install = (
            f"update {engine.product}" if engine.desktop else f"`brew install docker-{name}`, or as {_INSTALL} says"
        )
    version = {"buildx": engine.buildx, "compose": engine.compose}[name]
    if error := engine.plugin_errors.get(name):
        path = re.search(rf"(?:^|\s)(/.*?/docker-{name})", error)
        remove = f"remove what is there, `rm '{path[1]}'`, then " if path else ""
        return Problem(f"Docker's {name} plugin is broken: {error}", f"{remove}install it: {install}")
    if version is None:
        second = ", version 2" if name == "compose" else ""
        what = f"Docker {engine.version} is installed without its {name} plugin{second}"
        return Problem(what, f"install it: {install}")
    oldest = OLDEST_PLUGINS[name]
    if () < parse_version(version) < oldest:
        needed = ".".join(map(str, oldest))
        return Problem(f"Docker's {name} plugin {version} is older than {needed}", f"upgrade it: {install}")
    return None


def _remote(host: Host, engine: Engine) -> Problem:
    """Return the problem of an engine elsewhere: a mount there would be an empty folder that Docker makes."""
    local = "`unset DOCKER_HOST`" if host.env.get("DOCKER_HOST") else "`docker context use default`"
    return Problem(
        f"the Docker engine at {without_password(engine.address)} runs on another machine, "
        "which cannot mount this checkout",
        f"run the command there, in a checkout on that machine, or use this machine's engine: {local}",
    )


def _podman(host: Host) -> Problem:
    unset = "`unset DOCKER_HOST`, and " if "podman" in host.env.get("DOCKER_HOST", "") else ""
    return Problem(
        "`docker` on this machine is Podman, not Docker", f"{unset}install Docker {_OLDEST} or later: {_INSTALL}"
    )


def _absent(host: Host, none: NoEngine) -> Problem:
    address = host.env.get("DOCKER_HOST")
    # Without another sign: on a Mac Docker is Desktop, under WSL it is Desktop or an engine in the distribution.
    guess = DESKTOP if none.product == ENGINE and (host.system == "Darwin" or host.wsl) else none.product
    start, restart = _START.get(guess, _START[ENGINE])
    if host.wsl and guess == DESKTOP:
        start = (
            "start Docker Desktop with WSL integration for this distribution, or the distribution's own engine: "
            "`sudo service docker start`"
        )
    if none.absence is Absence.NOT_INSTALLED:
        return Problem("Docker is not installed", f"install Docker {_OLDEST} or later: {_INSTALL}")
    if none.absence is Absence.NO_PERMISSION:
        return Problem("Docker is running but this user has no permission on its socket", _permission(guess))
    if none.absence is Absence.NOT_DOCKER or guess == PODMAN:
        return _podman(host)
    if none.absence is Absence.NO_ANSWER:
        return Problem("the Docker engine did not answer `docker info` within 15 s", f"restart it: {restart}")
    if address:
        first = f"start it, {start}, or unset" if guess != ENGINE else "correct DOCKER_HOST, or unset"
        fix = f"{first} {'DOCKER_HOST' if guess != ENGINE else 'it'} to use this machine's default engine"
        return Problem(f"no Docker engine answers at DOCKER_HOST={without_password(address)}", fix)
    return Problem("Docker is installed but its engine is not running", f"start it: {start}")


def _permission(product: str) -> str:
    if product == SNAP:
        return (
            "`sudo addgroup --system docker && sudo adduser $USER docker`, log in again, then "
            "`sudo snap disable docker && sudo snap enable docker`"
        )
    if product == ROOTLESS:
        return "use your own rootless engine: `export DOCKER_HOST=unix:///run/user/$(id -u)/docker.sock`"
    return "join the docker group, `sudo usermod -aG docker $USER`, and log in again (or here: `newgrp docker`)"


def toolkit_obstacle(host: Host, cards: Sequence[Gpu]) -> Problem | None:
    """Return why the engine cannot give these cards to a container, or None if it can."""
    engine = host.engine
    if not cards or isinstance(engine, NoEngine) or engine.nvidia_runtime or engine.cdi_all:
        return None
    if engine.desktop and host.wsl:
        return None  # Docker Desktop gives WSL 2's GPU to `--gpus` itself, with or without a registered runtime
    if engine.snap:
        return Problem(
            "Docker from snap cannot reach the NVIDIA Container Toolkit",
            f"replace it, `sudo snap remove docker`, with Docker's own packages ({_INSTALL}) and install the toolkit",
        )
    if engine.in_virtual_machine:
        desktop = "Docker Desktop for Linux" if engine.desktop else engine.product
        return Problem(
            f"{desktop} runs in a virtual machine that has no GPU",
            f"also install Docker Engine ({_INSTALL}; `docker context use default`) and the toolkit",
        )
    configure, restart = "`sudo nvidia-ctk runtime configure --runtime=docker`", "`sudo systemctl restart docker`"
    if engine.rootless:  # NVIDIA's install guide, "Rootless mode"
        configure = (
            "`nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/daemon.json`, "
            "`sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place`"
        )
        restart = "`systemctl --user restart docker`"
    elif host.wsl:
        restart += " (without systemd: `sudo service docker restart`)"
    return Problem(
        f"Docker {engine.version} cannot give a GPU to a container: the NVIDIA Container Toolkit is not set up",
        f"install it ({_TOOLKIT}), then {configure} and {restart}",
    )
