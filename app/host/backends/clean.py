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
from app.host.backends.commands import IMAGE, PROJECT, Command
from app.host.backends.runner import Runner, say
from app.host.probe.engine import Engine
from app.host.probe.machine import Host
from app.host.variants import VARIANTS
from app.host.world import World

DEV_CONTAINER = "gpu-workspace-devcontainer"  # the compose project of .devcontainer/initialize.py
# The next command that needs one of these creates it again.
_MADE = (".venv", ".venv.partial", ".venv.old", "build", "dist", ".cache")
_MADE_BY_TOOLS = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")


@dataclass(frozen=True)
class Removal:
    """What to remove: folders, and Docker commands, each with a description."""

    folders: tuple[Path, ...] = ()
    docker: tuple[tuple[str, Command], ...] = ()

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
    """Print what will be removed, ask, and return the answer. Raises HostError without a terminal or `--yes`."""
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
