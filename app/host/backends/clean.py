"""What the project has made on this machine, and its removal: asks first, and keeps runs and caches unless told."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import HostError, Problem
from app.host.backends.commands import IMAGE, PROJECT, Command
from app.host.backends.runner import Runner, say
from app.host.probe.engine import Engine
from app.host.probe.machine import Host
from app.host.variants import VARIANTS
from app.host.world import World

DEV_CONTAINER = "gpu-workspace-devcontainer"  # the compose project of .devcontainer/initialize.py
# Made anew by the next command that needs them.
_MADE = (".venv", ".venv.partial", ".venv.old", "build", "dist", ".cache")
_MADE_BY_TOOLS = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")


@dataclass(frozen=True)
class Removal:
    """What goes: folders of this machine, and Docker commands with a word for each."""

    folders: tuple[Path, ...] = ()
    docker: tuple[tuple[str, Command], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.folders or self.docker)

    def lines(self) -> list[str]:
        return [f"  {folder}  ({_size(folder)})" for folder in self.folders] + [f"  {what}" for what, _ in self.docker]


def removal(world: World, host: Host, root: Path, runs: bool, cache: bool, images: bool) -> Removal:
    """What `invoke clean` would remove: the environment, containers and tools' caches; more where it was asked for."""
    names = [*_MADE, *_MADE_BY_TOOLS, *(["runs"] if runs else [])]
    folders = [root / name for name in names if (root / name).exists()]
    folders += sorted(root.glob("*.egg-info"))
    if cache:
        home = Path(world.env.get("WORKSPACE_CACHE") or Path(world.env.get("HOME", "/")) / ".cache" / "gpu-workspace")
        folders += [home] if home.exists() else []
    return Removal(tuple(folders), tuple(_in_docker(world, host, cache, images)))


def _in_docker(world: World, host: Host, cache: bool, images: bool) -> list[tuple[str, Command]]:
    if not isinstance(host.engine, Engine):
        return []
    found: list[tuple[str, Command]] = []
    for project in (host.env.get("COMPOSE_PROJECT_NAME") or PROJECT, DEV_CONTAINER):
        mine = f"label=com.docker.compose.project={project}"
        for box in _names(world, ["docker", "ps", "--all", "--filter", mine, "--format", "{{.Names}}"]):
            found.append((f"container {box}", Command(("docker", "rm", "--force", box))))
        for network in _names(world, ["docker", "network", "ls", "--filter", mine, "--format", "{{.Name}}"]):
            found.append((f"network {network}", Command(("docker", "network", "rm", network))))
        if cache:
            for volume in _names(world, ["docker", "volume", "ls", "--filter", mine, "--format", "{{.Name}}"]):
                found.append((f"volume {volume}", Command(("docker", "volume", "rm", volume))))
    if images:
        tags = {f"{IMAGE}:{name}-{target}" for name in VARIANTS for target in ("dev", "runtime")}
        for image in _names(world, ["docker", "image", "ls", IMAGE, "--format", "{{.Repository}}:{{.Tag}}"]):
            if image in tags:
                found.append((f"image {image}", Command(("docker", "image", "rm", image))))
    return found


def _names(world: World, argv: Sequence[str]) -> list[str]:
    return world.run(argv).out.split()


def agreed(what: Removal, yes: bool) -> bool:
    """List it and ask. `HostError` where nobody is there to answer and `--yes` was not given."""
    if not yes and not sys.stdin.isatty():
        raise HostError(Problem("there is no terminal to ask at, so nothing was removed", "add `--yes`"))
    say("this will be removed:")
    for line in what.lines():
        say(line)
    if yes:
        return True
    say("remove it? [y/N] ")
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        raise HostError(Problem("there was no answer, so nothing was removed", "answer y, or add `--yes`")) from None


def remove(what: Removal, runner: Runner) -> int:
    """Remove it, each whatever becomes of the others; the first exit code that is not 0, else 0.

    Raises:
        HostError: folders that are still there, as with what root wrote into them.
    """
    codes = [runner.run(command) for _, command in what.docker]
    for folder in what.folders:
        say(f"$ rm -r {folder}")
        if not runner.dry:
            shutil.rmtree(folder, ignore_errors=True)
    left = [] if runner.dry else [str(folder) for folder in what.folders if folder.exists()]
    if left:
        still = f"could not be removed, because not all of it is yours: {', '.join(left)}"
        raise HostError(Problem(still, f"`sudo rm -r {shlex.join(left)}`"))
    return next(filter(None, codes), 0)


def _size(folder: Path) -> str:
    """Size on disk, hard links counted once: a venv shares its files with uv's cache."""
    files = (path.lstat() for path in folder.rglob("*"))
    return f"{sum(stat.st_blocks * 512 for stat in files) / 1e6:.0f} MB"
