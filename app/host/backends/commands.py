"""Every command that the workspace runs, as pure functions from a plan to an argv. Nothing is run here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.host.plan.choose import Plan
from app.host.probe.engine import Engine
from app.host.probe.machine import PROXY_VARIABLES, Host
from app.host.variants import parse_version

SERVICE = "dev"
IMAGE = "gpu-workspace"
PROJECT = "gpu-workspace"
INPUTS_LABEL = "gpu-workspace.inputs"
TARGETS = ("dev", "runtime")
# Variables that each command in the container gets from the user's environment. They are not part of the container's
# configuration: otherwise a second terminal with another token would replace the container and kill what runs in it.
PERSONAL = (
    *("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "WANDB_API_KEY", "MLFLOW_TRACKING_URI", "PIP_INDEX_URL"),
    "OMP_NUM_THREADS",  # how many threads a training takes
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
# Variables of compose.yaml that its services do not get from `invoke`: those above, and the plan's devices.
_KEPT_OUT = (*PERSONAL, *(name.lower() for name in PROXY_VARIABLES), "CUDA_VISIBLE_DEVICES")
_SECRET = "APT_MIRROR"  # given to a build as a secret: an argument would stand in `docker history`


@dataclass(frozen=True)
class Command:
    """An argv and the variables that it needs in addition to the environment. Runs in the project's root.

    `background` are further variables, such as PATH, that are not printed because a user's shell has them already.
    `without` names variables of the environment that the command does not get.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    background: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as a user would type it."""
        return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)])


@dataclass(frozen=True)
class User:
    """The owner of the files that the workspace writes; `memlock` is how many bytes it may pin in memory (-1: any)."""

    uid: int
    gid: int
    memlock: int = -1


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host (`source`) and its path in a container (`place`)."""

    source: str
    place: str
    writable: bool = False

    @property
    def option(self) -> str:
        """Return the value of `--volume`, which cannot say a path with a colon."""
        return f"{self.source}:{self.place}{'' if self.writable else ':ro'}"

    @property
    def volume(self) -> Mapping[str, object]:
        """Return the mount in compose's long form, which any path fits into."""
        bind = {"create_host_path": False}
        return {
            "type": "bind", "source": self.source, "target": self.place, "read_only": not self.writable, "bind": bind
        }  # fmt: skip


@dataclass(frozen=True)
class BuildInputs:
    """What a build depends on, and its labels.

    `lock_hash` identifies the installed packages, `digest` everything except the project's own code (locks, Dockerfile
    and its files, bases). `revision`, `created` (RFC 3339) and `epoch` (s) are the last commit's, empty outside a git
    checkout. The time of the build is not included, so that a repeated build gives the same image.
    """

    lock_hash: str
    digest: str
    revision: str = ""
    created: str = ""
    epoch: str = ""
    options: Mapping[str, str] = field(default_factory=dict)  # BASE_IMAGE, DEV_BASE_IMAGE, SLIM
    sites: Mapping[str, str] = field(default_factory=dict)  # PIP_INDEX_URL, APT_MIRROR: mirrors of the same files


def image_name(plan: Plan, host: Host, target: str = "dev") -> str:
    """Return the image's tag; WORKSPACE_IMAGE overrides that of the dev image."""
    override = host.env.get("WORKSPACE_IMAGE") if target == "dev" else None
    return override or f"{IMAGE}:{plan.variant.name}-{target}"


def build(plan: Plan, host: Host, inputs: BuildInputs, target: str = "dev") -> Command:
    """Return the `docker buildx build` of one target."""
    arguments = {
        "VARIANT": plan.variant.name,
        "LOCK_HASH": inputs.lock_hash,
        "REVISION": inputs.revision,
        "CREATED": inputs.created,
        **inputs.options,
    }
    # Without values, which docker reads from the environment: they may contain passwords.
    sites = {name: value for name, value in inputs.sites.items() if name != _SECRET}
    by_name = {**sites, **host.proxies}
    argv = ["docker", "buildx", "build", "--load", "--file", "docker/Dockerfile", "--target", target]
    argv += ["--tag", image_name(plan, host, target), "--label", f"{INPUTS_LABEL}={inputs.digest}"]
    for name, value in arguments.items():
        argv += ["--build-arg", f"{name}={value}"] if value else []
    for name in by_name:
        argv += ["--build-arg", name]
    argv += ["--secret", f"id=ca,src={host.ca_bundle}"] if host.ca_bundle else []
    argv += ["--secret", f"id=apt_mirror,env={_SECRET}"] if _SECRET in inputs.sites else []
    # Provenance would put the build's time into the image, so that no two builds would be equal.
    argv += ["--provenance=false", "."]
    env = {"SOURCE_DATE_EPOCH": inputs.epoch} if inputs.epoch else {}
    return Command(tuple(argv), {**env, **_platform(host)}, {**inputs.sites, **host.proxies})


def project(root: Path, user: str, prefix: str = PROJECT) -> str:
    """Return the name of the compose project of a user (USER, may be empty) and a checkout.

    It is what compose makes of `name:` in compose.yaml when COMPOSE_PROJECT_NAME is not set.
    """
    return re.sub(r"[^a-z0-9_-]", "", f"{prefix}-{user}{root}".lower())


def gpu_overlay(plan: Plan) -> str | None:
    """Return the compose overlay that gives the container the plan's GPUs, or None without GPUs."""
    return {"runtime": "docker/compose.gpu.yaml", "cdi": "docker/compose.cdi.yaml"}.get(plan.gpu_mode)


def compose_files(plan: Plan, host: Host) -> list[str]:
    """Return the compose files for the plan on this host: compose.yaml, then the overlays."""
    overlays = (
        gpu_overlay(plan),
        "docker/compose.ca.yaml" if host.ca_bundle else None,
        "docker/compose.start.yaml" if _checks_at_the_start(host) else None,
    )
    return ["compose.yaml", *filter(None, overlays)]


def _checks_at_the_start(host: Host) -> bool:
    """Return whether engine and compose know a health check's start interval."""
    engine = host.engine
    if not isinstance(engine, Engine) or not engine.compose:
        return False
    return parse_version(engine.version) >= (25,) and parse_version(engine.compose) >= (2, 21)


def compose(plan: Plan, host: Host, user: User, root: Path, *arguments: str, absolute: bool = False) -> Command:
    """Return `docker compose` with the plan's files and variables, followed by `arguments`.

    The files are relative to the checkout `root`, or absolute, for a command that runs elsewhere.
    """
    argv = ["docker", "compose"]
    for file in compose_files(plan, host):
        argv += ["--file", str(root / file) if absolute else file]
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
    # PWD is in the project's name. A user's shell in the checkout has it, so it is not printed.
    return Command((*argv, *arguments), {**env, **_platform(host)}, {"PWD": str(root)}, without=_KEPT_OUT)


def compose_up(plan: Plan, host: Host, user: User, root: Path) -> Command:
    """Start the service, or leave it as it is if nothing changed, and wait until it is healthy."""
    return compose(plan, host, user, root, "up", "--detach", "--no-build", "--wait", SERVICE)


def compose_hash(plan: Plan, host: Host, user: User, root: Path) -> Command:
    """Return a command that prints `dev HASH`: the running container's label, if `up` would change nothing."""
    return compose(plan, host, user, root, "config", "--hash", SERVICE, absolute=True)


def compose_ps(plan: Plan, host: Host, user: User, root: Path) -> Command:
    """Return a command that prints the project's containers as JSON, those of `run` too."""
    return compose(plan, host, user, root, "--profile", "*", "ps", "--all", "--format", "json", absolute=True)


def compose_down(plan: Plan, host: Host, user: User, root: Path) -> Command:
    """Stop and remove the containers of all services and the network; caches stay."""
    return compose(plan, host, user, root, "--profile", "*", "down")


def execute(
    plan: Plan, host: Host, container: str, argv: Sequence[str], personal: Sequence[str], terminal: bool
) -> Command:
    """Return `docker exec` in the running container; `docker compose exec` takes 0.5 s longer to read its files."""
    prefix = ["docker", "exec", "--interactive", *(["--tty"] if terminal else []), *_variables(plan, personal)]
    return Command((*prefix, container, *argv), background=host.proxies)


def _variables(plan: Plan, personal: Sequence[str]) -> list[str]:
    """Return the options for `personal`, by name only, so that no value is printed, and for the plan's GPUs."""
    given = [*personal, *(f"{name}={value}" for name, value in device_env(plan).items())]
    return [word for name in given for word in ("--env", name)]


def run_once(
    plan: Plan,
    host: Host,
    user: User,
    root: Path,
    argv: Sequence[str],
    personal: Sequence[str],
    mounts: Sequence[Mount],
    name: str,
    terminal: bool,
) -> Command:
    """Run one command in a separate container with `mounts`, which cannot be added to a running container.

    Mounts with a colon in a path have to stand in a compose file, `mounts_file`.
    """
    options = ["run", "--rm", "--no-deps", "--name", name, *([] if terminal else ["--no-TTY"])]
    options += _variables(plan, personal)
    in_file = needs_file(mounts)
    for mount in [] if in_file else mounts:
        options += ["--volume", mount.option]
    file = ["--file", mounts_file(name)] if in_file else []
    command = compose(plan, host, user, root, *file, *options, SERVICE, *argv)
    without = tuple(n for n in command.without if n not in personal)
    return Command(command.argv, command.env, {**command.background, **host.proxies}, without)


def needs_file(mounts: Sequence[Mount]) -> bool:
    """Return whether an option of `docker compose run` cannot say these mounts: a colon separates its parts."""
    return any(":" in mount.source + mount.place for mount in mounts)


def mounts_file(name: str) -> str:
    """Return the path, in the checkout, of the compose file with the mounts of the container `name`."""
    return f".cache/{name}.compose.yaml"


def noted(argv: Sequence[str], note: str) -> list[str]:
    """Return `argv` wrapped so that it first writes its process id to the file `note`, for `interrupt`."""
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', note, *argv]


def interrupt(container: str, note: str, signal: str) -> Command:
    """Send a signal to a noted command: `docker exec` without a terminal does not forward signals."""
    script = 'kill -"$1" "$(cat "$0")"'
    return Command(("docker", "exec", container, "sh", "-c", script, note, signal))


def kill(container: str, signal: str) -> Command:
    """Return the command that sends a signal to the main process of a container."""
    return Command(("docker", "kill", "--signal", signal, container))


def device_env(plan: Plan) -> dict[str, str]:
    """Return the variables that show a program only the plan's GPUs, numbered as by nvidia-smi."""
    if plan.visible is None:
        return {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": plan.visible}


def uv_venv(python: str, folder: str) -> Command:
    """Create a relocatable environment: it is created next to the old one and then moved to its path."""
    return Command(("uv", "venv", "--relocatable", "--python", python, "--prompt", "gpu-workspace", folder))


def uv_install(folder: str, locks: Sequence[str], env: Mapping[str, str], background: Mapping[str, str]) -> Command:
    """Install exactly the packages of the locks, each checked by its hash."""
    argv = ["uv", "pip", "install", "--python", f"{folder}/bin/python", "--no-deps", "--require-hashes"]
    for lock in locks:
        argv += ["--requirement", lock]
    return Command(tuple(argv), env, background)


def uv_install_project(folder: str) -> Command:
    """Install the package itself from the checkout, offline: the locks contain what its build needs."""
    argv = ("uv", "pip", "install", "--python", f"{folder}/bin/python", "--no-deps", "--no-build-isolation")
    return Command((*argv, "--editable", "."), {"UV_OFFLINE": "1"})


def uv_python(version: str) -> Command:
    """Install one of uv's Python builds."""
    return Command(("uv", "python", "install", version))


def _platform(host: Host) -> dict[str, str]:
    x86 = host.machine in ("x86_64", "AMD64")
    return {} if x86 else {"DOCKER_DEFAULT_PLATFORM": "linux/amd64"}
