"""Detect everything that the workspace needs to know about the machine: `detect(World()) -> Host`. Never raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from app.host.probe.engine import Engine, NoEngine, detect_engine
from app.host.probe.gpus import Gpus, detect_gpus
from app.host.world import World

ROOT = Path(__file__).resolve().parents[3]  # the checkout

# The first one that is set wins, for builds, downloads and the native environment alike.
CA_VARIABLES = ("WORKSPACE_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
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

    `release` is the operating system's name and version. `inside` is True in the workspace's own container.
    `docker_free` and `project_free` are the free space on Docker's disk and on the checkout's. `proxies` holds the
    proxy variables that are set, in upper case. `ca_bundle` is the file that the first set one of `CA_VARIABLES` names,
    `ca_from` is that variable; if the file does not exist, its path is in `ca_missing` instead.
    """

    system: str
    machine: str
    engine: Engine | NoEngine
    gpus: Gpus
    release: str = ""
    kernel: str = ""
    wsl: bool = False
    inside: bool = False
    memory_bytes: int | None = None
    docker_free: int | None = None
    project_free: int | None = None
    proxies: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None
    ca_from: str = ""
    ca_missing: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def x86_linux(self) -> bool:
        """Whether the images and the URL-locked wheels are built for this machine."""
        return self.system == "Linux" and self.machine in ("x86_64", "AMD64")


def detect(world: World) -> Host:
    """Return the facts about the machine. The two slow ones, engine and driver, are detected in parallel."""
    with ThreadPoolExecutor(2) as pool:
        engine_answer = pool.submit(detect_engine, world)
        gpus_answer = pool.submit(detect_gpus, world)
        engine, gpus = engine_answer.result(), gpus_answer.result()
    kernel = (world.read("/proc/version") or "").strip()
    ca_from, ca_bundle, ca_missing = find_ca_bundle(world)
    return Host(
        system=world.system,
        machine=world.machine,
        engine=engine,
        gpus=gpus,
        release=_release(world),
        kernel=kernel,
        wsl="microsoft" in kernel.lower(),
        inside=world.env.get("WORKSPACE_INSIDE") == "1",
        memory_bytes=_memory(world),
        docker_free=world.free_bytes(engine.root) if isinstance(engine, Engine) and engine.local else None,
        project_free=world.free_bytes(str(ROOT)),
        proxies=_proxies(world.env),
        ca_bundle=ca_bundle,
        ca_from=ca_from,
        ca_missing=ca_missing,
        env={name: world.env[name] for name in _ENV_NAMES if name in world.env},
    )


def find_ca_bundle(world: World) -> tuple[str, str | None, str]:
    """Return (variable, path, missing path) of the extra certificates that a build or a download must trust."""
    for name in CA_VARIABLES:
        path = world.env.get(name)
        if path:
            return (name, path, "") if world.exists(path) else (name, None, path)
    return "", None, ""


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
