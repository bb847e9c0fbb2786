"""Every command that the workspace runs, as pure functions from a plan to an argv. Nothing here runs anything."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.host.plan.choose import Plan
from app.host.probe.engine import Engine
from app.host.probe.machine import Host

SERVICE = "dev"
IMAGE = "gpu-workspace"
PROJECT = "gpu-workspace"
INPUTS_LABEL = "gpu-workspace.inputs"
TARGETS = ("dev", "runtime")
# What a command in the container gets from whoever types it. They are no part of the container itself, or a second
# terminal with another token would replace the container, and with it what runs there.
PERSONAL = (
    *("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "PIP_INDEX_URL"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
_DEVICES = "CUDA_VISIBLE_DEVICES"  # given with each command, from the plan


@dataclass(frozen=True)
class Command:
    """An argv and the variables it needs beside the environment. Run in the project's root.

    `background` holds further variables, such as PATH, without which the printed line does the same at a prompt, and
    `without` names those of the environment that the command is not given.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    background: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """What a user would type for it."""
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)])


@dataclass(frozen=True)
class User:
    """Whose files the workspace writes, and how many bytes this user may pin in memory (-1: any)."""

    uid: int
    gid: int
    memlock: int = -1


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host's, and where a container finds it."""

    source: str
    place: str
    writable: bool = False

    @property
    def option(self) -> str:
        """The value of `--volume`."""
        return f"{self.source}:{self.place}{'' if self.writable else ':ro'}"


@dataclass(frozen=True)
class BuildInputs:
    """What a build depends on, and what it is labelled with.

    `lock_hash` names what is installed, `digest` everything but the project's own code (locks, Dockerfile and its
    files, bases). `revision`, `created` (RFC 3339) and `epoch` (s) are the last commit's; empty outside a git
    checkout. The time of a build is not among them, so that a repeated build is the same image.
    """

    lock_hash: str
    digest: str
    revision: str = ""
    created: str = ""
    epoch: str = ""
    options: Mapping[str, str] = field(default_factory=dict)  # BASE_IMAGE, DEV_BASE_IMAGE, SLIM
    sites: Mapping[str, str] = field(default_factory=dict)  # PIP_INDEX_URL, APT_MIRROR: where the same bytes come from


def image_name(plan: Plan, host: Host, target: str = "dev") -> str:
    """The image's tag; WORKSPACE_IMAGE overrides that of the dev image."""
    override = host.env.get("WORKSPACE_IMAGE") if target == "dev" else None
    return override or f"{IMAGE}:{plan.variant.name}-{target}"


def build(plan: Plan, host: Host, inputs: BuildInputs, target: str = "dev") -> Command:
    """`docker buildx build` of one target."""
    arguments = {
        "VARIANT": plan.variant.name,
        "LOCK_HASH": inputs.lock_hash,
        "REVISION": inputs.revision,
        "CREATED": inputs.created,
        **inputs.options,
    }
    by_name = {**inputs.sites, **host.proxies}  # docker takes the values from the environment: they may hold passwords
    argv = ["docker", "buildx", "build", "--load", "--file", "docker/Dockerfile", "--target", target]
    argv += ["--tag", image_name(plan, host, target), "--label", f"{INPUTS_LABEL}={inputs.digest}"]
    for name, value in arguments.items():
        argv += ["--build-arg", f"{name}={value}"] if value else []
    for name in by_name:
        argv += ["--build-arg", name]
    argv += ["--secret", f"id=ca,src={host.ca_bundle}"] if host.ca_bundle else []
    # Provenance would put the build's time into the image and make every build another one.
    argv += ["--provenance=false", "."]
    env = {"SOURCE_DATE_EPOCH": inputs.epoch} if inputs.epoch else {}
    return Command(tuple(argv), {**env, **_platform(host)}, by_name)


def gpu_overlay(plan: Plan) -> str | None:
    """The compose file that hands the plan's cards over; None without any."""
    return {"runtime": "docker/compose.gpu.yaml", "cdi": "docker/compose.cdi.yaml"}.get(plan.gpu_mode)


def compose_files(plan: Plan, host: Host) -> list[str]:
    """The compose files for the plan on this host, the CPU-safe one first."""
    overlays = (gpu_overlay(plan), "docker/compose.ca.yaml" if host.ca_bundle else None)
    return ["compose.yaml", *filter(None, overlays)]


def compose(plan: Plan, host: Host, user: User, *arguments: str) -> Command:
    """`docker compose` on the plan's files."""
    argv = ["docker", "compose"]
    for file in compose_files(plan, host):
        argv += ["--file", file]
    env = {
        "WORKSPACE_VARIANT": plan.variant.name,
        "WORKSPACE_IMAGE": image_name(plan, host),
        "WORKSPACE_UID": str(user.uid),
        "WORKSPACE_GID": str(user.gid),
    }
    if host.ca_bundle:
        env["WORKSPACE_CA_BUNDLE"] = host.ca_bundle
    if plan.skip_gate:
        env["NVIDIA_DISABLE_REQUIRE"] = "true"
    if isinstance(host.engine, Engine) and host.engine.rootless:
        env["WORKSPACE_MEMLOCK"] = str(user.memlock)  # a rootless engine may not raise it
    return Command((*argv, *arguments), {**env, **_platform(host)}, without=(*PERSONAL, _DEVICES))


def compose_up(plan: Plan, host: Host, user: User) -> Command:
    """Start the service, or leave it as it is where nothing changed, and wait until it is healthy."""
    return compose(plan, host, user, "up", "--detach", "--no-build", "--wait", SERVICE)


def compose_hash(plan: Plan, host: Host, user: User) -> Command:
    """Prints `dev HASH`: equal to the running container's label where `up` would change nothing."""
    return compose(plan, host, user, "config", "--hash", SERVICE)


def compose_down(plan: Plan, host: Host, user: User, volumes: bool = False) -> Command:
    """Stop and remove every service's container and the network; with `volumes` the caches too."""
    return compose(plan, host, user, "--profile", "*", "down", *(["--volumes"] if volumes else []))


def container_name(host: Host) -> str:
    """The name that compose gives the dev container."""
    return f"{host.env.get('COMPOSE_PROJECT_NAME') or PROJECT}-{SERVICE}-1"


def execute(plan: Plan, host: Host, argv: Sequence[str], personal: Sequence[str], terminal: bool) -> Command:
    """`docker exec` in the running container; compose's own `exec` would read the files again, half a second."""
    prefix = ["docker", "exec", "--interactive", *(["--tty"] if terminal else []), *_variables(plan, personal)]
    return Command((*prefix, container_name(host), *argv), background=host.proxies)


def top(host: Host) -> Command:
    """What runs in the container, a process id and a command line each, under one line of titles."""
    return Command(("docker", "top", container_name(host), "-eo", "pid,args"))


def _variables(plan: Plan, personal: Sequence[str]) -> list[str]:
    """`personal` by name alone, so that no value is printed, and the plan's cards."""
    given = [*personal, *(f"{name}={value}" for name, value in device_env(plan).items())]
    return [word for name in given for word in ("--env", name)]


def run_once(
    plan: Plan,
    host: Host,
    user: User,
    argv: Sequence[str],
    personal: Sequence[str],
    mounts: Sequence[Mount],
    name: str,
    terminal: bool,
) -> Command:
    """A container of its own for one command that sees more than the checkout; a running one takes no more mounts."""
    options = ["run", "--rm", "--no-deps", "--name", name, *([] if terminal else ["--no-TTY"])]
    options += _variables(plan, personal)
    for mount in mounts:
        options += ["--volume", mount.option]
    command = compose(plan, host, user, *options, SERVICE, *argv)
    return Command(command.argv, command.env, host.proxies, tuple(n for n in command.without if n not in personal))


def noted(argv: Sequence[str], note: str) -> list[str]:
    """`argv` that leaves its process id in the file `note`, for `interrupt`; the id is the command's own."""
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', note, *argv]


def interrupt(host: Host, note: str, signal: str) -> Command:
    """Pass a signal on to a noted command: `docker exec` without a terminal keeps signals to itself."""
    script = 'kill -"$1" "$(cat "$0")"'
    return Command(("docker", "exec", container_name(host), "sh", "-c", script, note, signal))


def kill(container: str, signal: str) -> Command:
    """Send a signal to a container's command."""
    return Command(("docker", "kill", "--signal", signal, container))


def device_env(plan: Plan) -> dict[str, str]:
    """Variables that show a program the plan's cards and no other, numbered as nvidia-smi does."""
    if plan.visible is None:
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": plan.visible}


def uv_venv(python: str, folder: str) -> Command:
    """A relocatable environment: it is made beside the old one and then moved into its place."""
    return Command(("uv", "venv", "--relocatable", "--python", python, "--prompt", "gpu-workspace", folder))


def uv_install(folder: str, locks: Sequence[str], env: Mapping[str, str], background: Mapping[str, str]) -> Command:
    """Everything in the locks, by hash and nothing else."""
    argv = ["uv", "pip", "install", "--python", f"{folder}/bin/python", "--no-deps", "--require-hashes"]
    for lock in locks:
        argv += ["--requirement", lock]
    return Command(tuple(argv), env, background)


def uv_install_project(folder: str) -> Command:
    """The package itself, from the checkout; its build needs nothing that the locks did not bring."""
    argv = ("uv", "pip", "install", "--python", f"{folder}/bin/python", "--no-deps", "--no-build-isolation")
    return Command((*argv, "--editable", "."), {"UV_OFFLINE": "1"})


def uv_python(version: str) -> Command:
    """Fetch a Python of uv's own."""
    return Command(("uv", "python", "install", version))


def _platform(host: Host) -> dict[str, str]:
    x86 = host.machine in ("x86_64", "AMD64")
    return {} if x86 else {"DOCKER_DEFAULT_PLATFORM": "linux/amd64"}
