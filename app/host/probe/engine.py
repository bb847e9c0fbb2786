"""Detect the Docker engine with `docker info`: its version, plugins and GPU modes, or why no engine answers.

The engine is found by a request, never by the path of a socket or program: `DOCKER_HOST`, contexts, rootless engines,
Docker Desktop and snap all answer the same request.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from app.host.variants import Version, parse_version
from app.host.world import NOT_FOUND, TIMED_OUT, Completed, World

OLDEST_ENGINE: Version = (23,)  # first with BuildKit as the default: heredocs, cache mounts, COPY --link
CDI_KIND = "nvidia.com/gpu"


class Absence(Enum):
    """Why no engine answered."""

    NOT_INSTALLED = "docker is not installed"
    NOT_RUNNING = "no Docker engine is running"
    NO_PERMISSION = "no permission on the Docker socket"
    NO_ANSWER = "the Docker engine did not answer in time"
    NOT_DOCKER = "`docker` is another engine"


@dataclass(frozen=True)
class NoEngine:
    """No engine answered: why, and the client's error text."""

    absence: Absence
    error: str = ""


@dataclass(frozen=True)
class Engine:
    """An engine that answered. Versions are as printed; `buildx` and `compose` are None if the plugin is missing.

    `root` is the folder where it stores images and containers; `local` is False if that is not on this machine's disk.
    `cdi_devices` are the fully qualified NVIDIA devices that it can inject; empty if CDI is off.
    """

    version: str
    buildx: str | None = None
    compose: str | None = None
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
    desktop: bool = False
    snap: bool = False
    gpu_hook: str | None = None

    @property
    def too_old(self) -> bool:
        return parse_version(self.version) < OLDEST_ENGINE

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
    if world.which("docker") is None:
        return NoEngine(Absence.NOT_INSTALLED)
    answer = world.run(["docker", "info", "--format", "{{json .}}"], timeout=15)
    info = _parsed(answer.out)
    if not info.get("ServerVersion"):
        return NoEngine(_absence(answer, info), _error_text(answer, info))
    return _engine(world, info)


def _absence(answer: Completed, info: dict[str, Any]) -> Absence:
    error = _error_text(answer, info).lower()
    if answer.code == TIMED_OUT:
        return Absence.NO_ANSWER
    if answer.code == NOT_FOUND:
        return Absence.NOT_INSTALLED
    if "permission denied" in error:
        return Absence.NO_PERMISSION
    if "podman" in error or "store" in info:
        return Absence.NOT_DOCKER
    return Absence.NOT_RUNNING


def _error_text(answer: Completed, info: dict[str, Any]) -> str:
    errors = info.get("ServerErrors") or []
    return "\n".join([*map(str, errors), answer.err.strip()]).strip()


def _engine(world: World, info: dict[str, Any]) -> Engine:
    plugins = {p.get("Name"): p for p in (info.get("ClientInfo") or {}).get("Plugins") or [] if not p.get("Err")}
    security = " ".join(info.get("SecurityOptions") or [])
    root = str(info.get("DockerRootDir") or "")
    desktop = str(info.get("OperatingSystem") or "") == "Docker Desktop"
    status = dict(pair for pair in info.get("DriverStatus") or [] if len(pair) == 2)
    if str(status.get("driver-type", "")).startswith("io.containerd.snapshotter"):
        root = "/var/lib/containerd"  # the containerd image store puts layers there, not under DockerRootDir
    cdi_dirs = tuple(info.get("CDISpecDirs") or ())
    return Engine(
        version=str(info["ServerVersion"]),
        buildx=_version(plugins.get("buildx")),
        compose=_version(plugins.get("compose")),
        root=root,
        local=not desktop and not re.match(r"(tcp|ssh|https?)://", _address(world, info)),
        storage_driver=str(info.get("Driver") or ""),
        cgroup_driver=str(info.get("CgroupDriver") or ""),
        cgroup_version=str(info.get("CgroupVersion") or ""),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        default_runtime=str(info.get("DefaultRuntime") or ""),
        cdi_dirs=cdi_dirs,
        cdi_devices=_cdi_devices(world, info, cdi_dirs),
        operating_system=str(info.get("OperatingSystem") or ""),
        architecture=str(info.get("Architecture") or ""),
        memory_bytes=info.get("MemTotal") or None,
        rootless="name=rootless" in security,
        desktop=desktop,
        snap=root.startswith("/var/snap/") or (world.which("docker") or "").startswith("/snap/"),
        gpu_hook=world.which("nvidia-container-runtime-hook"),
    )


def _address(world: World, info: dict[str, Any]) -> str:
    """Return the engine's address, empty for the default; only a context other than the default needs a command."""
    context = str((info.get("ClientInfo") or {}).get("Context") or "default")
    if world.env.get("DOCKER_HOST") or context == "default":
        return world.env.get("DOCKER_HOST", "")
    return world.run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}", context]).out.strip()


def _version(plugin: dict[str, Any] | None) -> str | None:
    return None if plugin is None else str(plugin.get("Version") or "").lstrip("v") or None


def _cdi_devices(world: World, info: dict[str, Any], dirs: tuple[str, ...]) -> tuple[str, ...]:
    """Return the NVIDIA devices: as the engine lists them (Docker 28.2 and later), else from the specs in `dirs`."""
    listed = info.get("DiscoveredDevices")
    if listed:
        names = [str(d.get("ID", "")) for d in listed if d.get("Source", "cdi") == "cdi"]
        return tuple(sorted(n for n in names if n.startswith(CDI_KIND)))
    found: set[str] = set()
    for folder in dirs:
        for path in [p for ending in ("yaml", "yml", "json") for p in world.glob(f"{folder}/*.{ending}")]:
            text = world.read(path) or ""
            # Two patterns read both YAML and JSON specs; the standard library has no YAML parser.
            if re.search(rf"[\"']?kind[\"']?\s*:\s*[\"']?{CDI_KIND}[\"']?\s*[,\n]", text):
                devices = text[text.find("devices") :]
                names = re.findall(r"^\s*-?\s*\{?\s*[\"']?name[\"']?\s*:\s*[\"']?([\w.:-]+)[\"']?", devices, re.M)
                found.update(f"{CDI_KIND}={name}" for name in names)
    return tuple(sorted(found))


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
