"""Detect the Docker engine with `docker info`: its version, plugins and GPU modes, or why no engine answers.

The engine is found by a request, never by the path of a socket or program: `DOCKER_HOST`, contexts, rootless engines,
Docker Desktop and snap all answer the same request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from app.host.addresses import is_remote
from app.host.probe.cdi import CDI_KIND, cdi_devices
from app.host.probe.products import ENGINE, VIRTUAL, product_of
from app.host.variants import Version, parse_version
from app.host.world import NOT_FOUND, TIMED_OUT, Completed, World

OLDEST_ENGINE: Version = (23,)  # first with BuildKit as the default: heredocs, cache mounts, COPY --link
# buildx 0.10 is the first with --provenance, compose 2.5 the first with secrets in `build` (docker/compose#9386).
OLDEST_PLUGINS: Mapping[str, Version] = {"buildx": (0, 10), "compose": (2, 5)}


class Absence(Enum):
    """Why no engine answered."""

    NOT_INSTALLED = "docker is not installed"
    NOT_RUNNING = "no Docker engine is running"
    NO_PERMISSION = "no permission on the Docker socket"
    NO_ANSWER = "the Docker engine did not answer in time"
    NOT_DOCKER = "`docker` is another engine"


@dataclass(frozen=True)
class NoEngine:
    """No engine answered: why, the client's error text, the address that was asked, and whose it is (products.py)."""

    absence: Absence
    error: str = ""
    address: str = ""
    product: str = ENGINE


@dataclass(frozen=True)
class Engine:
    """An engine that answered. Versions are as printed; `buildx` and `compose` are None if the plugin does not work.

    `plugin_errors` has what a broken plugin says, by its name. `address` is empty for the default socket; `product` is
    the engine's name (products.py). `root` is the folder where it stores images and containers; `local` is False if
    that is not on this machine's disk. `cdi_devices` are the fully qualified NVIDIA devices that it can inject; empty
    if CDI is off.
    """

    version: str
    buildx: str | None = None
    compose: str | None = None
    plugin_errors: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    product: str = ENGINE
    root: str = ""
    local: bool = True
    storage_driver: str = ""
    cgroup_driver: str = ""
    cgroup_version: str = ""
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    cdi_dirs: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    operating_system: str = ""
    architecture: str = ""
    memory_bytes: int | None = None
    rootless: bool = False
    selinux: bool = False
    desktop: bool = False
    snap: bool = False
    gpu_hook: str | None = None

    @property
    def too_old(self) -> bool:
        return parse_version(self.version) < OLDEST_ENGINE

    @property
    def remote(self) -> bool:
        """Whether the engine runs on another machine, so that it cannot mount folders of this one."""
        return is_remote(self.address)

    @property
    def in_virtual_machine(self) -> bool:
        return self.product in VIRTUAL

    @property
    def nvidia_runtime(self) -> bool:
        """Whether `--gpus` works: the runtime is registered, or the hook that dockerd uses is installed."""
        return "nvidia" in self.runtimes or "nvidia" in self.default_runtime or self.gpu_hook is not None

    @property
    def cdi_all(self) -> bool:
        """Whether the engine can inject all cards at once, by the toolkit's device name `nvidia.com/gpu=all`."""
        return f"{CDI_KIND}=all" in self.cdi_devices


def detect_engine(world: World) -> Engine | NoEngine:
    """Return the engine from one call of `docker info`, or why there is none. Never raises."""
    program = world.which("docker")
    if program is None:
        return NoEngine(Absence.NOT_INSTALLED)
    answer = world.run(["docker", "info", "--format", "{{json .}}"], timeout=15)
    info = _parsed(answer.out)
    if info.get("ServerVersion"):
        return _engine(world, info, program)
    error = _error_text(answer, info)
    asked = _address(world, info) or _address_in(error)
    product = product_of(asked, program, str(_client(info).get("Context") or ""))
    return NoEngine(_absence(answer, info), error, asked, product)


def _absence(answer: Completed, info: dict[str, Any]) -> Absence:
    error = _error_text(answer, info).lower()
    if answer.code == TIMED_OUT:
        return Absence.NO_ANSWER
    if answer.code == NOT_FOUND:
        return Absence.NOT_INSTALLED
    if "permission denied" in error:
        return Absence.NO_PERMISSION
    if "emulate docker cli using podman" in error or "store" in info:
        return Absence.NOT_DOCKER
    return Absence.NOT_RUNNING


def _error_text(answer: Completed, info: dict[str, Any]) -> str:
    errors = info.get("ServerErrors") or []
    return "\n".join([*map(str, errors), answer.err.strip()]).strip()


def _address_in(error: str) -> str:
    """Return the address in the client's message `Cannot connect to the Docker daemon at ADDRESS. Is the ...`."""
    found = re.search(r"(?:unix|tcp|ssh|https?)://[^\s\"]+", error)
    return found[0].rstrip(".:,") if found else ""


def _engine(world: World, info: dict[str, Any], program: str) -> Engine:
    plugins = {str(p.get("Name")): p for p in _client(info).get("Plugins") or []}
    security = " ".join(info.get("SecurityOptions") or [])
    address = _address(world, info)
    root = str(info.get("DockerRootDir") or "")
    product = product_of(address, program, str(_client(info).get("Context") or ""), info)
    status = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
    if str(status.get("driver-type", "")).startswith("io.containerd.snapshotter"):
        root = "/var/lib/containerd"  # the containerd image store puts layers there, not under DockerRootDir
    cdi_dirs = tuple(info.get("CDISpecDirs") or ())
    return Engine(
        version=str(info["ServerVersion"]),
        buildx=_version(plugins.get("buildx")),
        compose=_version(plugins.get("compose")),
        plugin_errors={name: _plugin_error(plugin) for name, plugin in plugins.items() if plugin.get("Err")},
        address=address,
        product=product,
        root=root,
        local=product not in VIRTUAL and not address.startswith(("tcp:", "ssh:", "http:", "https:")),
        storage_driver=str(info.get("Driver") or ""),
        cgroup_driver=str(info.get("CgroupDriver") or ""),
        cgroup_version=str(info.get("CgroupVersion") or ""),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        default_runtime=str(info.get("DefaultRuntime") or ""),
        cdi_dirs=cdi_dirs,
        cdi_devices=cdi_devices(world, info.get("DiscoveredDevices"), cdi_dirs),
        operating_system=str(info.get("OperatingSystem") or ""),
        architecture=str(info.get("Architecture") or ""),
        memory_bytes=info.get("MemTotal") or None,
        rootless="name=rootless" in security,
        selinux="name=selinux" in security,
        desktop=product == "Docker Desktop",
        snap=product == "Docker from snap",
        gpu_hook=world.which("nvidia-container-runtime-hook"),
    )


def _client(info: dict[str, Any]) -> dict[str, Any]:
    return info.get("ClientInfo") or {}


def _address(world: World, info: dict[str, Any]) -> str:
    """Return the engine's address, empty for the default; only a context other than the default needs a command."""
    context = str(_client(info).get("Context") or "default")
    if world.env.get("DOCKER_HOST") or context == "default":
        return world.env.get("DOCKER_HOST", "")
    return world.run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", context]).out.strip()


def _version(plugin: dict[str, Any] | None) -> str | None:
    """Return a plugin's version; None if it is not installed, does not start, or does not say."""
    if plugin is None or plugin.get("Err"):
        return None
    return str(plugin.get("Version") or "").lstrip("v") or None


def _plugin_error(plugin: dict[str, Any]) -> str:
    error, path = str(plugin["Err"]), str(plugin.get("Path") or "")
    return error if path in error else f"{path}: {error}"


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
