"""Pre-flight checks of the machine and its Docker engine; the GPU's are in `gpu_checks`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.host.backends import commands
from app.host.backends.native import Environment
from app.host.backends.runner import Runner
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.checks.context import CheckContext
from app.host.plan.choose import Plan, space_for
from app.host.plan.obstacles import engine_obstacle, platform_obstacle
from app.host.probe.engine import Absence, Engine, NoEngine
from app.host.probe.machine import ROOT
from app.host.probe.pythons import NO_UV, find_uv

GB = 1e9
INSTALL = "https://docs.docker.com/engine/install/"
# Below this a build, a data loader or a compilation pushes the machine into swap: torch with its CUDA libraries takes
# 2 to 3 GB of each process, and a run is at least the trainer, one worker and the compiler.
LEAST_MEMORY_GB = 8
# What the services publish on this machine: service -> (variable that moves it, port); a test reads compose.yaml.
PORTS = {"notebook": ("WORKSPACE_NOTEBOOK_PORT", 8888), "tensorboard": ("WORKSPACE_TENSORBOARD_PORT", 6006)}


@check("system", source="docker/locks: the wheels are manylinux x86_64")
def system(context: CheckContext) -> Answer:
    """Which operating system and processor this is, and whether the images and wheels are made for it."""
    host = context.host
    name = f"{host.release or host.system} on {host.machine}"
    if obstacle := platform_obstacle(host, ()):
        return context.judge(obstacle)
    if not host.x86_linux:
        return warned(
            f"{name}: no CUDA here, and the x86_64 images run emulated",
            "nothing to do for work on the CPU; for the GPU use an x86_64 Linux host",
        )
    return passed(name)


@check("wsl", needs="Windows Subsystem for Linux", source="https://docs.nvidia.com/cuda/wsl-user-guide/")
def wsl(context: CheckContext) -> Answer:
    """Under WSL: version 2, since version 1 has neither a Linux kernel for Docker nor the GPU."""
    if not context.host.wsl:
        return skipped("not WSL")
    if "wsl2" not in context.host.kernel.lower() and re.search(r"version [34]\.", context.host.kernel):
        return warned("WSL 1 has no GPU and runs no Docker engine", "in Windows: `wsl --set-version DISTRIBUTION 2`")
    return passed("WSL 2; the GPU's driver is the one of Windows")


@check("docker", needs="the docker command", source=INSTALL)
def docker(context: CheckContext) -> Answer:
    """Whether a Docker engine answers that is new enough to build the image."""
    engine = context.host.engine
    if isinstance(engine, Engine) and not engine.too_old:
        where = " in a virtual machine" if engine.desktop else "" if engine.local else " on another machine"
        return passed(f"Docker {engine.version}{where}, {engine.storage_driver or 'unknown'} in {engine.root}")
    obstacle = engine_obstacle(context.host)
    assert obstacle is not None  # no engine, or one too old, always has its sentence
    return context.judge(obstacle)


@check("socket", needs="a running engine", source="https://docs.docker.com/engine/install/linux-postinstall/")
def socket(context: CheckContext) -> Answer:
    """Whether this user may talk to the engine."""
    engine = context.host.engine
    if isinstance(engine, Engine):
        return passed("this user may use it" + (", which runs without root" if engine.rootless else ""))
    obstacle = engine_obstacle(context.host)
    if engine.absence is Absence.NO_PERMISSION and obstacle:
        return context.judge(obstacle)
    return skipped(engine.absence.value)


@check("engine-kind", needs="a running engine", source="https://github.com/NVIDIA/nvidia-docker/issues/1642")
def engine_kind(context: CheckContext) -> Answer:
    """Docker Desktop, snap, rootless and remote engines see less of the machine than the usual one does."""
    engine = context.host.engine
    if isinstance(engine, NoEngine):
        return skipped(engine.absence.value)
    if engine.snap:
        return warned(
            "Docker from snap sees only parts of the disk, and no GPU",
            f"`sudo snap remove docker`, then Docker's own packages: {INSTALL}",
        )
    if not engine.local and not engine.desktop:
        return warned(
            "the engine runs on another machine: folders of this one cannot be mounted there",
            "unset DOCKER_HOST and `docker context use default`, or run the commands on that machine",
        )
    if engine.rootless:
        return passed("rootless: its own daemon.json is ~/.config/docker/daemon.json")
    return passed("Docker Desktop" if engine.desktop else "Docker Engine")


def _plugin(context: CheckContext, name: str, version: str | None) -> Answer:
    if isinstance(context.host.engine, NoEngine):
        return skipped(context.host.engine.absence.value)
    if version is not None:
        return passed(version)
    package = f"docker-{name}-plugin"
    obstacle = engine_obstacle(context.host)
    if obstacle and name in obstacle.what:
        return context.judge(obstacle)
    return warned(f"the {name} plugin is not there", f"install it: `sudo apt-get install {package}`")


@check("buildx", needs="a running engine", source="https://docs.docker.com/build/buildx/install/")
def buildx(context: CheckContext) -> Answer:
    """The builder plugin, which the Dockerfile's cache mounts and secrets need."""
    engine = context.host.engine
    return _plugin(context, "buildx", engine.buildx if isinstance(engine, Engine) else None)


@check("compose", needs="a running engine", source="https://docs.docker.com/compose/install/linux/")
def compose(context: CheckContext) -> Answer:
    """The compose plugin, version 2, which starts the services."""
    engine = context.host.engine
    return _plugin(context, "compose", engine.compose if isinstance(engine, Engine) else None)


@check("proxy", source="https://docs.docker.com/engine/cli/proxy/")
def proxy(context: CheckContext) -> Answer:
    """Which proxy downloads go through; the build is given the same."""
    if not context.host.proxies:
        return passed("none set")
    return passed(", ".join(f"{name}={without_password(url)}" for name, url in sorted(context.host.proxies.items())))


def without_password(url: str) -> str:
    """A proxy's address without the user and password it may carry."""
    parts = urlsplit(url)
    return url.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else url


@check("certificates", source="https://docs.docker.com/build/building/secrets/")
def certificates(context: CheckContext) -> Answer:
    """Extra certificates for a network that opens TLS; the build takes them as a secret."""
    host = context.host
    if host.ca_missing:
        # A build is refused; natively the system's own are tried.
        judged = warned if context.plan is not None and context.plan.backend == "native" else failed
        return judged(f"{host.ca_from} names {host.ca_missing}, which is not there", f"correct or unset {host.ca_from}")
    return passed(f"{host.ca_bundle}, by {host.ca_from}" if host.ca_bundle else "the system's own")


@check("disk", source="app/host/variants.py: room that each variant's image and environment take")
def disk(context: CheckContext) -> Answer:
    """Room for what would be built, on the disk where it would go."""
    if context.plan is None:
        return skipped("nothing would be built")
    if obstacle := space_for(context.host, context.plan):
        # What is there already is used, and made anew as far as the room goes.
        return (warned if _made(context, context.plan) else failed)(obstacle.what, obstacle.fix)
    docker = context.plan.backend == "docker"
    free = context.host.docker_free if docker else context.host.project_free
    if free is None:
        return skipped("the free space there is not known")
    need = context.plan.variant.image_gb if docker else context.plan.variant.venv_gb
    return passed(f"{free / GB:.0f} GB free, about {need} GB needed")


@check("uv", needs="the native back end", source="https://docs.astral.sh/uv/")
def uv(context: CheckContext) -> Answer:
    """uv, which makes the native environment."""
    if context.plan is None or context.plan.backend != "native":
        return skipped("not needed: the native back end is not used")
    if path := find_uv(context.world):
        return passed(path)
    if _made(context, context.plan):
        return skipped("not needed: the environment is there")
    return failed(NO_UV.what, NO_UV.fix)


def _made(context: CheckContext, plan: Plan) -> bool:
    """Whether what the plan runs in is there: an image of the variant, or the environment from the present locks."""
    if plan.backend == "docker":
        tag = commands.image_name(plan, context.host)
        return context.world.run(["docker", "image", "inspect", "--format", "{{.Id}}", tag]).ok
    return Environment(ROOT, context.host, plan, context.world, Runner(dry=True)).current() is not None


@check("memory", source="app/host/checks/machine.py: LEAST_MEMORY_GB")
def memory(context: CheckContext) -> Answer:
    """Main memory of the machine, or of Docker's virtual machine where that is smaller."""
    engine = context.host.engine
    inner = (
        engine.memory_bytes
        if isinstance(engine, Engine) and context.plan and context.plan.backend == "docker"
        else None
    )
    sizes = [size for size in (context.host.memory_bytes, inner) if size]
    if not sizes:
        return skipped("not known")
    have = min(sizes) / GB
    if have < LEAST_MEMORY_GB:
        desktop = isinstance(engine, Engine) and engine.desktop
        return warned(
            f"{have:.1f} GB; {LEAST_MEMORY_GB} GB is the least that is comfortable",
            "give Docker Desktop more: Settings, Resources"
            if desktop
            else "close other programs, and use small batches",
        )
    return passed(f"{have:.0f} GB")


@check("ports", needs="/proc/net", source="compose.yaml")
def ports(context: CheckContext) -> Answer:
    """The ports that the services publish on this machine are free, or held by this workspace."""
    texts = [context.world.read(path) for path in ("/proc/net/tcp", "/proc/net/tcp6")]
    if not any(texts):
        return skipped("the kernel's list of ports is not readable here")
    busy = listening("".join(filter(None, texts)))
    wanted = {int(context.world.env.get(name) or port): service for service, (name, port) in PORTS.items()}
    taken = {port: service for port, service in wanted.items() if port in busy}
    if taken and isinstance(context.host.engine, Engine):
        project = context.host.env.get("COMPOSE_PROJECT_NAME", "gpu-workspace")
        label = f"label=com.docker.compose.project={project}"
        held = context.world.run(["docker", "ps", "--filter", label, "--format", "{{.Ports}}"]).out
        taken = {port: service for port, service in taken.items() if f":{port}->" not in held}
    if not taken:
        return passed(", ".join(map(str, wanted)) + " are free or this workspace's own")
    which = ", ".join(f"{port} ({service})" for port, service in taken.items())
    move = " or ".join(f"{PORTS[service][0]}=..." for service in taken.values())
    return warned(f"already in use: {which}", f"end what holds it (`ss -ltnp`), or take another: {move}")


def listening(table: str) -> set[int]:
    """Ports that something listens on, by the kernel's tables (proc(5): state 0A is LISTEN, numbers hexadecimal)."""
    return {int(m[1], 16) for m in re.finditer(r"^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F:]+ 0A ", table, re.M)}


@check("request", needs="a flag or a WORKSPACE_ variable")
def request(context: CheckContext) -> Answer:
    """Whether what was asked for, by flag or by environment, can be had here."""
    request = context.request
    asked = {
        "variant": request.variant,
        "back end": request.backend,
        "gpus": "" if request.gpus == "all" else request.gpus,
    }
    said = ", ".join(f"{name} {value}" for name, value in asked.items() if value)
    if not said:
        return skipped("nothing in particular asked for")
    if context.plan is None:
        return failed(f"{said}: {'; '.join(p.what for p in context.problems)}", context.problems[0].fix)
    return passed(said)


CHECKS = (
    request,
    system,
    wsl,
    docker,
    socket,
    engine_kind,
    buildx,
    compose,
    proxy,
    certificates,
    disk,
    uv,
    memory,
    ports,
)
