"""Pre-flight checks of the machine and its Docker engine; those of the GPU are in `gpu.py`."""

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
# With less, a build, a data loader or a compilation makes the machine swap: torch with its CUDA libraries takes 2 to 3
# GB per process, and a run has at least three: the trainer, one worker and the compiler.
LEAST_MEMORY_GB = 8
# Ports that the services publish on this machine: service -> (variable that changes it, port), as in compose.yaml.
PORTS = {"notebook": ("WORKSPACE_NOTEBOOK_PORT", 8888), "tensorboard": ("WORKSPACE_TENSORBOARD_PORT", 6006)}


@check("system", source="docker/locks: the wheels are manylinux x86_64")
def system(context: CheckContext) -> Answer:
    """The images and wheels are built for this operating system and processor."""
    host = context.host
    name = f"{host.release or host.system} on {host.machine}"
    if obstacle := platform_obstacle(host, ()):
        return context.answer_to(obstacle)
    if not host.x86_linux:
        return warned(
            f"{name}: no CUDA here, and the x86_64 images run emulated",
            "nothing to do for work on the CPU; for the GPU use an x86_64 Linux host",
        )
    return passed(name)


@check("wsl", needs="Windows Subsystem for Linux", source="https://docs.nvidia.com/cuda/wsl-user-guide/")
def wsl(context: CheckContext) -> Answer:
    """WSL is version 2: version 1 has neither a Linux kernel for Docker nor the GPU."""
    if not context.host.wsl:
        return skipped("not WSL")
    if "wsl2" not in context.host.kernel.lower() and re.search(r"version [34]\.", context.host.kernel):
        return warned("WSL 1 has no GPU and runs no Docker engine", "in Windows: `wsl --set-version DISTRIBUTION 2`")
    return passed("WSL 2; the GPU uses the Windows driver")


@check("docker", needs="the docker command", source=INSTALL)
def docker(context: CheckContext) -> Answer:
    """A Docker engine answers and is new enough to build the image."""
    engine = context.host.engine
    if isinstance(engine, Engine) and not engine.too_old:
        place = " in a virtual machine" if engine.desktop else "" if engine.local else " on another machine"
        return passed(f"Docker {engine.version}{place}, {engine.storage_driver or 'unknown'} in {engine.root}")
    obstacle = engine_obstacle(context.host)
    assert obstacle is not None  # every missing or too old engine is an obstacle
    return context.answer_to(obstacle)


@check("socket", needs="a running engine", source="https://docs.docker.com/engine/install/linux-postinstall/")
def socket(context: CheckContext) -> Answer:
    """This user has permission to use the engine's socket."""
    engine = context.host.engine
    if isinstance(engine, Engine):
        return passed("this user may use the engine" + (", which runs without root" if engine.rootless else ""))
    obstacle = engine_obstacle(context.host)
    if engine.absence is Absence.NO_PERMISSION and obstacle:
        return context.answer_to(obstacle)
    return skipped(engine.absence.value)


@check("engine-kind", needs="a running engine", source="https://github.com/NVIDIA/nvidia-docker/issues/1642")
def engine_kind(context: CheckContext) -> Answer:
    """The engine has access to the machine's folders and GPU, which snap and remote engines lack."""
    engine = context.host.engine
    if isinstance(engine, NoEngine):
        return skipped(engine.absence.value)
    if engine.snap:
        return warned(
            "Docker from snap has access to only a part of the disk, and to no GPU",
            f"`sudo snap remove docker`, then Docker's own packages: {INSTALL}",
        )
    if not engine.local and not engine.desktop:
        return warned(
            "the engine runs on another machine, which cannot mount folders of this one",
            "unset DOCKER_HOST and `docker context use default`, or run the commands on that machine",
        )
    if engine.rootless:
        return passed("rootless: it reads ~/.config/docker/daemon.json")
    return passed("Docker Desktop" if engine.desktop else "Docker Engine")


def _plugin(context: CheckContext, name: str, version: str | None) -> Answer:
    if isinstance(context.host.engine, NoEngine):
        return skipped(context.host.engine.absence.value)
    if version is not None:
        return passed(version)
    package = f"docker-{name}-plugin"
    obstacle = engine_obstacle(context.host)
    if obstacle and name in obstacle.what:
        return context.answer_to(obstacle)
    return warned(f"the {name} plugin is not installed", f"install it: `sudo apt-get install {package}`")


@check("buildx", needs="a running engine", source="https://docs.docker.com/build/buildx/install/")
def buildx(context: CheckContext) -> Answer:
    """The buildx plugin is installed; the Dockerfile's cache mounts and secrets need it."""
    engine = context.host.engine
    return _plugin(context, "buildx", engine.buildx if isinstance(engine, Engine) else None)


@check("compose", needs="a running engine", source="https://docs.docker.com/compose/install/linux/")
def compose(context: CheckContext) -> Answer:
    """The compose plugin, version 2, is installed; it starts the services."""
    engine = context.host.engine
    return _plugin(context, "compose", engine.compose if isinstance(engine, Engine) else None)


@check("proxy", source="https://docs.docker.com/engine/cli/proxy/")
def proxy(context: CheckContext) -> Answer:
    """The proxy that downloads use; the build gets the same one."""
    if not context.host.proxies:
        return passed("none set")
    return passed(", ".join(f"{name}={without_password(url)}" for name, url in sorted(context.host.proxies.items())))


def without_password(url: str) -> str:
    """Return a proxy's URL without the user and password that it may contain."""
    parts = urlsplit(url)
    return url.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else url


@check("certificates", source="https://docs.docker.com/build/building/secrets/")
def certificates(context: CheckContext) -> Answer:
    """Extra certificates exist if a variable names them; a network that opens TLS needs them, a build as a secret."""
    host = context.host
    if host.ca_missing:
        # The build refuses to start; the native back end uses the system's certificates.
        natively = context.plan is not None and context.plan.backend == "native"
        detail = f"{host.ca_from} names {host.ca_missing}, which does not exist"
        return (warned if natively else failed)(detail, f"correct or unset {host.ca_from}")
    return passed(f"{host.ca_bundle}, by {host.ca_from}" if host.ca_bundle else "the system's own")


@check("disk", source="app/host/variants.py: disk space that each variant's image and environment need")
def disk(context: CheckContext) -> Answer:
    """The disk has enough free space for the image or environment that would be built."""
    if context.plan is None:
        return skipped("nothing would be built")
    if obstacle := space_for(context.host, context.plan):
        # An image or environment that exists can be used without more space.
        return (warned if _exists(context, context.plan) else failed)(obstacle.what, obstacle.fix)
    docker = context.plan.backend == "docker"
    free = context.host.docker_free if docker else context.host.project_free
    if free is None:
        return skipped("the free space is not known")
    need = context.plan.variant.image_gb if docker else context.plan.variant.venv_gb
    return passed(f"{free / GB:.0f} GB free, about {need} GB needed")


@check("uv", needs="the native back end", source="https://docs.astral.sh/uv/")
def uv(context: CheckContext) -> Answer:
    """uv is installed if the native environment has to be made."""
    if context.plan is None or context.plan.backend != "native":
        return skipped("not needed: the native back end is not used")
    if path := find_uv(context.world):
        return passed(path)
    if _exists(context, context.plan):
        return skipped("not needed: the environment exists")
    return failed(NO_UV.what, NO_UV.fix)


def _exists(context: CheckContext, plan: Plan) -> bool:
    """Return whether the plan's image, or its environment from the current locks, exists."""
    if plan.backend == "docker":
        tag = commands.image_name(plan, context.host)
        return context.world.run(["docker", "image", "inspect", "--format", "{{.Id}}", tag]).ok
    return Environment(ROOT, context.host, plan, context.world, Runner(dry=True)).current() is not None


@check("memory", source="app/host/checks/machine.py: LEAST_MEMORY_GB")
def memory(context: CheckContext) -> Answer:
    """The machine, or Docker's virtual machine if that is smaller, has enough main memory."""
    engine = context.host.engine
    engine_memory = (
        engine.memory_bytes
        if isinstance(engine, Engine) and context.plan and context.plan.backend == "docker"
        else None
    )
    sizes = [size for size in (context.host.memory_bytes, engine_memory) if size]
    if not sizes:
        return skipped("not known")
    memory_gb = min(sizes) / GB
    if memory_gb < LEAST_MEMORY_GB:
        desktop = isinstance(engine, Engine) and engine.desktop
        return warned(
            f"{memory_gb:.1f} GB; at least {LEAST_MEMORY_GB} GB is recommended",
            "give Docker Desktop more memory: Settings, Resources"
            if desktop
            else "close other programs, and use small batches",
        )
    return passed(f"{memory_gb:.0f} GB")


@check("ports", needs="/proc/net", source="compose.yaml")
def ports(context: CheckContext) -> Answer:
    """The ports that the services publish are free, or in use by this workspace."""
    texts = [context.world.read(path) for path in ("/proc/net/tcp", "/proc/net/tcp6")]
    if not any(texts):
        return skipped("the kernel's list of ports cannot be read")
    listening = listening_ports("".join(filter(None, texts)))
    ports = {int(context.world.env.get(name) or port): service for service, (name, port) in PORTS.items()}
    in_use = {port: service for port, service in ports.items() if port in listening}
    if in_use and isinstance(context.host.engine, Engine):
        label = f"label=com.docker.compose.project.working_dir={ROOT}"
        published = context.world.run(["docker", "ps", "--filter", label, "--format", "{{.Ports}}"]).out
        in_use = {port: service for port, service in in_use.items() if f":{port}->" not in published}
    if not in_use:
        return passed(", ".join(map(str, ports)) + " are free or in use by this workspace")
    listed = ", ".join(f"{port} ({service})" for port, service in in_use.items())
    variables = " or ".join(f"{PORTS[service][0]}=..." for service in in_use.values())
    return warned(f"already in use: {listed}", f"end the program (`ss -ltnp`), or use another port: {variables}")


def listening_ports(table: str) -> set[int]:
    """Return the ports in state LISTEN of the kernel's tables (proc(5): state 0A, numbers are hexadecimal)."""
    return {int(m[1], 16) for m in re.finditer(r"^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F:]+ 0A ", table, re.M)}


@check("request", needs="a flag or a WORKSPACE_ variable")
def request(context: CheckContext) -> Answer:
    """What the user asked for, by flag or variable, is possible on this machine."""
    request = context.request
    options = {
        "variant": request.variant,
        "back end": request.backend,
        "gpus": "" if request.gpus == "all" else request.gpus,
    }
    asked = ", ".join(f"{name} {value}" for name, value in options.items() if value)
    if not asked:
        return skipped("no variant, back end or GPUs asked for")
    if context.plan is None:
        return failed(f"{asked}: {'; '.join(p.what for p in context.problems)}", context.problems[0].fix)
    return passed(asked)


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
