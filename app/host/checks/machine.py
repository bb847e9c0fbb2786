"""Pre-flight checks of the machine; those of the Docker engine are in `engine.py`, those of the GPU in `gpu.py`."""

from __future__ import annotations

import re

from app.host.addresses import without_password
from app.host.backends import commands
from app.host.backends.native import Environment
from app.host.backends.runner import Runner
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.checks.context import CheckContext
from app.host.plan.cards import wanted
from app.host.plan.choose import Plan, space_for
from app.host.plan.obstacles import ca_obstacle, checkout_obstacle, platform_obstacle
from app.host.probe.engine import Engine
from app.host.probe.machine import ROOT
from app.host.probe.pythons import NO_UV, find_uv

GB = 1e9
# With less, a build, a data loader or a compilation makes the machine swap: torch with its CUDA libraries takes 2 to 3
# GB per process, and a run has at least three: the trainer, one worker and the compiler.
LEAST_MEMORY_GB = 8
# Ports that the services publish on this machine: service -> (variable that changes it, port), as in compose.yaml.
PORTS = {"notebook": ("WORKSPACE_NOTEBOOK_PORT", 8888), "tensorboard": ("WORKSPACE_TENSORBOARD_PORT", 6006)}
PUBLISHED_AT = "127.0.0.1"


@check("request", needs="a flag or a WORKSPACE_ variable", source="app/host/plan/choose.py: Request")
def request(context: CheckContext) -> Answer:
    """What the user asked for, by flag or variable, is possible on this machine."""
    request = context.request
    cards, named_by = wanted(request.gpus, context.world.env)
    options = {
        "variant": request.variant,
        "back end": request.backend,
        "gpus" if named_by == "--gpus" else named_by: cards if named_by else "",
    }
    asked = ", ".join(f"{name} {value}" for name, value in options.items() if value)
    if not asked:
        return skipped("no variant, back end or GPUs asked for")
    if context.plan is None:
        return failed(f"{asked}: {'; '.join(p.what for p in context.problems)}", context.problems[0].fix)
    return passed(asked)


@check("system", source="docker/locks: the wheels are manylinux x86_64")
def system(context: CheckContext) -> Answer:
    """The images and wheels are built for this operating system and processor."""
    host = context.host
    name = f"{host.release or host.system} on {host.machine}"
    if obstacle := platform_obstacle(host, ()):
        return context.answer_to(obstacle)
    if not host.x86_linux:
        emulated = "" if host.machine == "x86_64" else ", and the x86_64 images run emulated"
        return warned(
            f"{name}: no CUDA here{emulated}",
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


@check("checkout", source="https://docs.python.org/3/library/venv.html#creating-virtual-environments")
def checkout(context: CheckContext) -> Answer:
    """The checkout's path can be a part of PATH, in which a colon separates folders."""
    obstacle = checkout_obstacle(context.host)
    if obstacle and obstacle in context.problems:
        return failed(obstacle.what, obstacle.fix)
    return passed(context.host.project)


@check("proxy", source="https://docs.docker.com/engine/cli/proxy/")
def proxy(context: CheckContext) -> Answer:
    """The proxy that downloads use; the build gets the same one."""
    if not context.host.proxies:
        return passed("none set")
    return passed(", ".join(f"{name}={without_password(url)}" for name, url in sorted(context.host.proxies.items())))


@check("certificates", source="https://docs.docker.com/build/building/secrets/")
def certificates(context: CheckContext) -> Answer:
    """Extra certificates can be read if a variable names them; a network that opens TLS needs them."""
    host = context.host
    if obstacle := ca_obstacle(host):
        return context.answer_to(obstacle)
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
    """There is enough main memory: the machine's, that of Docker's virtual machine, or what a cgroup allows."""
    host, engine = context.host, context.host.engine
    docker = context.plan is not None and context.plan.backend == "docker"
    # A container's memory is the engine's: limits of the shell that asks do not count for it.
    size = engine.memory_bytes if docker and isinstance(engine, Engine) else host.memory_bytes
    size = size or host.memory_bytes
    if not size:
        return skipped("not known")
    limited = bool(size == host.memory_bytes and host.memory_total and size < host.memory_total)
    total = f", the limit of this container or job; the machine has {(host.memory_total or 0) / GB:.0f} GB"
    where = total if limited else ""
    if size / GB >= LEAST_MEMORY_GB:
        return passed(f"{size / GB:.0f} GB{where}")
    fix = "close other programs, and use small batches"
    if limited:
        fix = "raise the limit (docker run --memory, sbatch --mem, a pod's resources), or use small batches"
    elif isinstance(engine, Engine) and engine.desktop:
        fix = "give Docker Desktop more memory: Settings, Resources"
    return warned(f"{size / GB:.1f} GB{where}; at least {LEAST_MEMORY_GB} GB is recommended", fix)


@check("ports", source="compose.yaml")
def ports(context: CheckContext) -> Answer:
    """The ports that the services publish are free, or in use by this workspace."""
    ranges = {service: port_range(context.world.env.get(name) or str(port)) for service, (name, port) in PORTS.items()}
    wrong = [PORTS[service][0] for service, numbers in ranges.items() if numbers is None]
    if wrong:
        values = ", ".join(f"{name}={context.world.env[name]!r}" for name in wrong)
        return warned(f"{values} is not a port", "set a number from 1 to 65535, or a range: 9000-9010")
    in_use = {
        service: numbers
        for service, numbers in ranges.items()
        if numbers and all(context.world.port_in_use(PUBLISHED_AT, port) for port in numbers)
    }
    if in_use and isinstance(context.host.engine, Engine):
        label = f"label=com.docker.compose.project.working_dir={ROOT}"
        published = context.world.run(["docker", "ps", "--filter", label, "--format", "{{.Ports}}"]).out
        in_use = {s: numbers for s, numbers in in_use.items() if not any(f":{port}->" in published for port in numbers)}
    if not in_use:
        shown = ", ".join(_shown(numbers) for numbers in ranges.values() if numbers)
        return passed(f"{shown} are free or in use by this workspace")
    listed = ", ".join(f"{_shown(numbers)} ({service})" for service, numbers in in_use.items())
    variables = " or ".join(f"{PORTS[service][0]}=..." for service in in_use)
    return warned(f"already in use: {listed}", f"end the program (`ss -ltnp`), or use another port: {variables}")


def port_range(text: str) -> range | None:
    """Return the ports of a setting as compose takes it, `8888` or `9000-9010`: the first free one is used; else None.

    Port 0 lets the system choose.
    """
    match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", text, re.ASCII)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1) if first <= last <= 65535 else None


def _shown(numbers: range) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


CHECKS = (request, system, wsl, checkout, proxy, certificates, disk, uv, memory, ports)
