"""The containers of the checkout's compose project, and the processes that somebody started in them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.host.backends.commands import SERVICE, Command
from app.host.world import World

# The processes that always run in a container of the dev service, and those that a running command starts for itself.
_IDLE = (
    *("/sbin/docker-init", "tini ", "/usr/local/bin/idle.sh", "sleep infinity", "sleep 0.1"),
    *("/usr/local/bin/healthcheck.sh", "python -c import app.errors"),
)
_HELPERS = ("multiprocessing.resource_tracker", "multiprocessing.spawn", "torch/_inductor/compile_worker")
_COLUMNS = "pid,ppid,etime,args"  # `docker top` needs a column PID


@dataclass(frozen=True)
class Container:
    """A container of the project. `single` is True for one that `docker compose run` made for one command."""

    name: str
    service: str
    state: str
    single: bool = False


@dataclass(frozen=True)
class Process:
    """A process that somebody started. `pid` is its id on the engine's machine, `since` its age: [[DD-]hh:]mm:ss."""

    container: Container
    pid: int
    since: str
    line: str


def asked(command: Command) -> list[str]:
    """Return a command's argv with its variables set by `env`: `World.run` takes no variables."""
    variables = {**command.env, **command.background}
    unset = (f"--unset={name}" for name in command.without)
    return ["env", *unset, *(f"{name}={value}" for name, value in variables.items()), *command.argv]


def containers(world: World, ps: Command) -> list[Container]:
    """Return the project's containers as compose lists them: it alone knows the names that it gives."""
    answer = world.run(asked(ps)).out.strip()
    try:
        # An array, or from compose 2.21 on an object a line.
        found = json.loads(answer) if answer.startswith("[") else [json.loads(line) for line in answer.splitlines()]
    except ValueError:
        return []
    return [
        Container(
            str(each.get("Name", "")),
            str(each.get("Service", "")),
            str(each.get("State", "")),
            "com.docker.compose.oneoff=True" in str(each.get("Labels", "")),
        )
        for each in found
    ]


def dev_container(found: Sequence[Container]) -> Container | None:
    """Return the dev service's container, or None if there is none."""
    return next((box for box in found if box.service == SERVICE and not box.single), None)


def running(world: World, boxes: Sequence[Container]) -> list[Process]:
    """Return what somebody runs in the dev service's containers, the one made for a command too, longest first."""
    found: list[Process] = []
    for box in boxes:
        if box.service == SERVICE and box.state == "running":
            found += _processes(box, world.run(["docker", "top", box.name, "-eo", _COLUMNS]).out)
    return found


def _processes(box: Container, table: str) -> list[Process]:
    rows = [line.split(None, 3) for line in table.splitlines()[1:]]
    whole = {row[0]: row for row in rows if len(row) == 4}
    found = []
    for pid, parent, since, line in whole.values():
        forked = parent in whole and whole[parent][3] == line  # the workers of a loader look like their parent
        if not forked and not any(word in line for word in (*_IDLE, *_HELPERS)):
            found.append(Process(box, int(pid), since, line))
    return found


def shown(process: Process, world: World) -> str:
    """Return a line about a process: what, since when, and how to follow or stop it."""
    box = process.container.name
    line = f"{process.line if len(process.line) < 100 else process.line[:97] + '...'} (for {process.since})"
    if process.container.single:
        return f"{line}; follow: `docker attach --sig-proxy=false {box}`; stop: `docker stop {box}`"
    inside = re.search(r"^NSpid:.*\s(\d+)$", world.read(f"/proc/{process.pid}/status") or "", re.M)
    stop = f"`docker exec {box} kill {inside[1]}`" if inside else "`invoke down` stops all"
    return f"{line}; stop: {stop}"
