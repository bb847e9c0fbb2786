"""Find and remove what the project created on this machine. Asks first; keeps runs, caches and images by default."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import HostError, Problem
from app.host.backends.cache import cached
from app.host.backends.commands import IMAGE, Command, project
from app.host.backends.disk import builder_cache
from app.host.backends.runner import Runner, agrees, say
from app.host.probe.engine import Engine
from app.host.probe.machine import Host
from app.host.variants import VARIANTS
from app.host.world import World

DEV_CONTAINER = "gpu-workspace-devcontainer"  # begins the compose project of .devcontainer/initialize.py
# The next command that needs one of these creates it again.
_MADE = (".venv", ".venv.partial", ".venv.old", "build", "dist", ".cache")
_MADE_BY_TOOLS = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")


@dataclass(frozen=True)
class Removal:
    """What to remove: folders, and Docker commands, each with a description; and what stays."""

    folders: tuple[Path, ...] = ()
    docker: tuple[tuple[str, Command], ...] = ()
    stays: tuple[str, ...] = ()  # a line for what is left although it takes space

    def __bool__(self) -> bool:
        return bool(self.folders or self.docker)

    def lines(self) -> list[str]:
        """Return one line for each thing to remove, with the size of a folder."""
        return [f"  {folder}  ({_size(folder)})" for folder in self.folders] + [f"  {what}" for what, _ in self.docker]


def removal(world: World, host: Host, root: Path, runs: bool, cache: bool, images: bool) -> Removal:
    """Return what `invoke clean` removes: environment, containers and tools' caches; `runs`, `cache`, `images` add."""
    names = [*_MADE, *_MADE_BY_TOOLS, *(["runs"] if runs else [])]
    folders = [root / name for name in names if (root / name).exists()]
    folders += sorted(root.glob("*.egg-info"))
    if cache:
        folders += cached(world)
    if not isinstance(host.engine, Engine):
        return Removal(tuple(folders))
    docker = _of_projects(world, root, cache) + (_images(world) if images else [])
    return Removal(tuple(folders), tuple(docker), tuple(_left(world) if images else []))


def _of_projects(world: World, root: Path, cache: bool) -> list[tuple[str, Command]]:
    """Return the containers, networks and, if `cache`, volumes of this checkout's compose projects."""
    # The projects of the checkout's containers, whatever they are called, and those that it has by default: after
    # `invoke down` a volume has no container that would say whose it is.
    at = f"label=com.docker.compose.project.working_dir={root}"
    label = '{{.Label "com.docker.compose.project"}}'
    named = _names(world, ["docker", "ps", "--all", "--filter", at, "--format", label])
    user = world.env.get("USER", "")
    default = world.env.get("COMPOSE_PROJECT_NAME") or project(root, user)
    found: list[tuple[str, Command]] = []
    for name in dict.fromkeys((default, project(root, user, DEV_CONTAINER), *named)):
        mine = f"label=com.docker.compose.project={name}"
        for box in _names(world, ["docker", "ps", "--all", "--filter", mine, "--format", "{{.Names}}"]):
            found.append((f"container {box}", Command(("docker", "rm", "--force", box))))
        for network in _names(world, ["docker", "network", "ls", "--filter", mine, "--format", "{{.Name}}"]):
            found.append((f"network {network}", Command(("docker", "network", "rm", network))))
        if cache:
            for volume in _names(world, ["docker", "volume", "ls", "--filter", mine, "--format", "{{.Name}}"]):
                found.append((f"volume {volume}", Command(("docker", "volume", "rm", volume))))
    return found


def _images(world: World) -> list[tuple[str, Command]]:
    """Return the project's images: the tagged ones, and the untagged ones that a rebuild has replaced."""
    tags = {f"{IMAGE}:{name}-{target}" for name in VARIANTS for target in ("dev", "runtime")}
    listed = _names(world, ["docker", "image", "ls", IMAGE, "--format", "{{.Repository}}:{{.Tag}}"])
    found = [(f"image {image}", Command(("docker", "image", "rm", image))) for image in listed if image in tags]
    ours = ("--filter", "label=gpu-workspace.variant")
    untagged = _names(world, ["docker", "image", "ls", "--quiet", "--no-trunc", "--filter", "dangling=true", *ours])
    if untagged:
        prune = Command(("docker", "image", "prune", "--force", *ours))
        found.append((f"{len(set(untagged))} untagged images of earlier builds", prune))
    return found


def _left(world: World) -> list[str]:
    """Return what `--images` leaves, and how to free it."""
    size = builder_cache(world)
    if size < 0.1:
        return []
    return [f"the builder's cache stays, {size:.1f} GB for all projects; to free it: `docker builder prune`"]


def _names(world: World, argv: Sequence[str]) -> list[str]:
    return world.run(argv).out.split()


def agreed(what: Removal, yes: bool) -> bool:
    """Print what will be removed, ask, and return the answer. Raises HostError without a terminal or `--yes`."""
    if not yes and not sys.stdin.isatty():
        raise HostError(Problem("there is no terminal to ask at, so nothing was removed", "add `--yes`"))
    say("this will be removed:")
    for line in what.lines():
        say(line)
    for line in what.stays:
        say(line)
    return agrees("remove it? [y/N] ", yes, "nothing was removed")


def remove(what: Removal, runner: Runner) -> int:
    """Remove everything, also after a failure, and return the first exit code that is not 0, else 0.

    Raises HostError if folders remain, for example because root wrote into them.
    """
    codes = [runner.run(command) for _, command in what.docker]
    for folder in what.folders:
        say(f"$ rm -r {folder}")
        if not runner.dry:
            _remove(folder)
    left = [] if runner.dry else [str(folder) for folder in what.folders if folder.exists()]
    if left:
        still = f"could not be removed, because not all of it is yours: {', '.join(left)}"
        raise HostError(Problem(still, f"`sudo rm -r {shlex.join(left)}`"))
    return next(filter(None, codes), 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _size(folder: Path) -> str:
    """Return the size on disk in MB (1e6 bytes), from the blocks in use."""
    files = (path.lstat() for path in (folder, *folder.rglob("*")))
    return f"{sum(stat.st_blocks * 512 for stat in files) / 1e6:.0f} MB"
