"""Detect everything that the workspace needs to know about the machine: `detect(World()) -> Host`. Never raises."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.cgroups import cgroup_limits
from app.host.probe.certificates import find_ca_bundle
from app.host.probe.engine import Engine, NoEngine, detect_engine
from app.host.probe.gpus import Gpus, detect_gpus
from app.host.world import World

ROOT = Path(__file__).resolve().parents[3]  # the checkout

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")

# A Host holds only these environment variables, so that it can be printed without a secret.
_ENV_NAMES = (
    "WORKSPACE_VARIANT",
    "WORKSPACE_BACKEND",
    "WORKSPACE_INSIDE",
    "WORKSPACE_IMAGE",
    "WORKSPACE_BASE_IMAGE",
    "WORKSPACE_SLIM",
    "WORKSPACE_CACHE",
    "COMPOSE_PROJECT_NAME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "CI",
)


@dataclass(frozen=True)
class Host:
    """One machine. What is unknown is None or empty. Sizes in bytes.

    `release` is the operating system's name and version. `inside` is True in the workspace's own container. `project`
    is the checkout's path. `memory_bytes` and `cores` are what this process may use: the machine's, or less if a
    container or cgroup limits them; `memory_total` is the machine's. `docker_free` and `project_free` are the free
    space on Docker's disk and on the checkout's. `proxies` holds the proxy variables that are set, in upper case.
    `ca_bundle` is the file that the first set one of `CA_VARIABLES` names, `ca_from` is that variable; if the file
    cannot be used, its path is in `ca_missing` instead, and `ca_error` is the end of the sentence that says why.
    """

    system: str
    machine: str
    engine: Engine | NoEngine
    gpus: Gpus
    release: str = ""
    kernel: str = ""
    wsl: bool = False
    inside: bool = False
    selinux: bool = False
    project: str = str(ROOT)
    memory_bytes: int | None = None
    memory_total: int | None = None
    cores: float = 1
    docker_free: int | None = None
    project_free: int | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None
    ca_from: str = ""
    ca_missing: str = ""
    ca_error: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def x86_linux(self) -> bool:
        """Whether the images and the URL-locked wheels are built for this machine."""
        return self.system == "Linux" and self.machine in ("x86_64", "AMD64")


def detect(world: World, ask_gpus: bool = True) -> Host:
    """Return the facts about the machine; unless `ask_gpus`, the cards are left out, whose driver may be slow."""
    engine, gpus = _engine_and_gpus(world, ask_gpus)
    kernel = (world.read("/proc/version") or "").strip()
    bundle = find_ca_bundle(world)
    total, limits = _memory(world), cgroup_limits(world.read)
    return Host(
        system=world.system,
        machine=world.machine,
        engine=engine,
        gpus=gpus,
        release=_release(world),
        kernel=kernel,
        wsl="microsoft" in kernel.lower(),
        inside=world.env.get("WORKSPACE_INSIDE") == "1",
        selinux=(world.read("/sys/fs/selinux/enforce") or "").strip() == "1",
        memory_bytes=min(filter(None, (total, limits.memory_bytes)), default=None),
        memory_total=total,
        cores=min(filter(None, (world.cores, limits.cores))),
        docker_free=world.free_bytes(engine.root) if isinstance(engine, Engine) and engine.local else None,
        project_free=world.free_bytes(str(ROOT)),
        proxies=_proxies(world.env),
        ca_bundle=bundle.usable,
        ca_from=bundle.variable,
        ca_missing=bundle.path if bundle.error else "",
        ca_error=bundle.error,
        env={name: world.env[name] for name in _ENV_NAMES if name in world.env},
    )


def _engine_and_gpus(world: World, ask_gpus: bool) -> tuple[Engine | NoEngine, Gpus]:
    """Return the engine and the cards, the two slow answers, asked at the same time.

    The thread is a daemon, because the end of the process, as by Ctrl-C, would wait for any other.
    """
    found: list[Engine | NoEngine | BaseException] = []

    def ask() -> None:
        try:
            found.append(detect_engine(world))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    gpus = detect_gpus(world, ask_gpus)
    thread.join()
    (engine,) = found
    if isinstance(engine, BaseException):
        raise engine
    return engine, gpus


def _proxies(env: Mapping[str, str]) -> dict[str, str]:
    """Return the proxy variables that are set, in upper or lower case: tools differ in which one they read."""
    found = {name: env.get(name) or env.get(name.lower()) for name in PROXY_VARIABLES}
    return {name: value for name, value in found.items() if value}


def _release(world: World) -> str:
    if world.system == "Darwin":
        return f"macOS {world.run(['sw_vers', '-productVersion']).out.strip()}".strip()
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', world.read("/etc/os-release") or "", re.M)
    return match[1] if match else ""


def _memory(world: World) -> int | None:
    if world.system == "Darwin":
        answer = world.run(["sysctl", "-n", "hw.memsize"]).out.strip()
        return int(answer) if answer.isdigit() else None
    match = re.search(r"^MemTotal:\s+(\d+) kB", world.read("/proc/meminfo") or "", re.M)
    return int(match[1]) * 1024 if match else None
