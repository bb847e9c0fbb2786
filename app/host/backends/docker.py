"""The docker back end: build or reuse the image, start or reuse the container, run in it.

Warm, that is three questions to Docker (the engine, the container with its image, compose's hash) and one `exec`.
"""

from __future__ import annotations

import json
import os
import signal as signals
import subprocess
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.errors import HostError, Problem, print_warning
from app.host.backends import commands
from app.host.backends.build_inputs import build_inputs
from app.host.backends.lock import exclusive
from app.host.backends.mounts import mounts_for
from app.host.backends.runner import Runner, say
from app.host.explain import advice
from app.host.plan.choose import ASKED, Plan, space_for
from app.host.plan.wheels import FetchProbe, fallback, fetch_obstacle, with_fallback
from app.host.probe.engine import Engine
from app.host.probe.machine import Host
from app.host.world import World

ENTRYPOINT = "/usr/local/bin/entrypoint.sh"  # finds a home and caches that this user can write to
_CONFIG_HASH = "com.docker.compose.config-hash"
_CHECKOUT = "com.docker.compose.project.working_dir"
# What always runs in it: the first processes and the health check.
_IDLE = ("/sbin/docker-init", "tini ", "sleep infinity", "/usr/local/bin/healthcheck.sh", "python -c import app.errors")


@dataclass(frozen=True)
class ContainerState:
    """What Docker holds for this workspace; empty strings where there is nothing."""

    image_id: str = ""
    image_digest: str = ""  # commands.INPUTS_LABEL of the image
    container_image: str = ""
    container_state: str = ""  # running, exited, ...
    health: str = ""
    config_hash: str = ""
    checkout: str = ""

    @property
    def running(self) -> bool:
        return self.container_state == "running" and self.health in ("", "healthy")


class DockerWorkspace:
    """The dev service of compose.yaml, with the plan's overlay."""

    name = "docker"

    def __init__(
        self, root: Path, host: Host, plan: Plan, world: World, runner: Runner, probe: FetchProbe | None = None
    ) -> None:
        self.root, self.host, self.world, self.runner = root, host, world, runner
        self.memory = root / ".cache" / "out-of-reach"
        known = plan.variant.name in self._unreached() and plan.why_variant != ASKED
        self.plan = (fallback(plan) or plan) if known else plan
        self.replaced = ""  # the variant whose wheels are out of reach
        self.probe = probe or partial(fetch_obstacle, ca_bundle=host.ca_bundle)
        rootless = isinstance(host.engine, Engine) and host.engine.rootless
        self.user = this_user(rootless)
        self.personal = [name for name in commands.PERSONAL if world.env.get(name) or name in host.proxies]

    def ensure(self) -> None:
        """Build what is not built, start what is not running, and wait until it is healthy.

        Raises:
            HostError: a full disk, a build or a start that failed, with what is known about its message.
        """
        if self._ready():
            return
        with nullcontext() if self.runner.dry else exclusive(self.root, "container"):
            # Another invocation may have brought it up while this one waited.
            if self.runner.dry or not self._ready():
                self._bring_up()

    def _ready(self) -> bool:
        standing = self.standing()
        self._refuse_anothers(standing)
        return self._current(standing) and standing.running and not self._changed(standing)

    def _bring_up(self) -> None:
        if not self._current(self.standing()):
            self._settle()
            if not self._current(self.standing()):
                self._build("dev")
        if self.runner.dry or not self._ready():
            self._start()

    def build(self, target: str) -> int:
        """Build one target; what has not changed comes from the builder's cache."""
        if target not in commands.TARGETS:
            known = ", ".join(commands.TARGETS)
            raise HostError(Problem(f"the Dockerfile has no target {target!r}", f"use one of: {known}"))
        self._settle()
        self._build(target)
        return 0

    def _settle(self) -> None:
        """Before anything is built, ask whether the wheels can be fetched; it may take seconds."""
        plan, warning = with_fallback(self.plan, self.root, self.probe)
        if warning:
            print_warning(warning)
            self.replaced = self.plan.variant.name
        self.plan = plan

    def _unreached(self) -> list[str]:
        return self.memory.read_text(encoding="utf-8").split() if self.memory.exists() else []

    def _inputs(self, target: str) -> commands.BuildInputs:
        return build_inputs(self.world, self.host, self.root, self.plan.variant, target, self.plan.base_image)

    def _current(self, standing: ContainerState) -> bool:
        """Whether the image is the one that the checkout asks for; one of the user's own is used as it is."""
        own = "WORKSPACE_IMAGE" in self.host.env
        return bool(standing.image_id) and (own or standing.image_digest == self._inputs("dev").digest)

    def _build(self, target: str) -> None:
        if problem := space_for(self.host, self.plan):
            if not self.standing().image_id:
                raise HostError(problem)
            print_warning(problem)  # a build anew takes most of its layers from the builder's cache
        command = commands.build(self.plan, self.host, self._inputs(target), target)
        name = commands.image_name(self.plan, self.host, target)
        self._must(command, f"building {name} failed: see the message above")
        if self.replaced and not self.runner.dry:  # and now it is known not to be the whole network that is away
            self.memory.parent.mkdir(exist_ok=True)
            self.memory.write_text("\n".join({*self._unreached(), self.replaced}), encoding="utf-8")

    def _start(self) -> None:
        self._refuse_to_end(self.standing())
        command = commands.compose_up(self.plan, self.host, self.user)
        logs = f"`docker logs {commands.container_name(self.host)}`"
        self._must(command, f"the container did not start: see the message above and {logs}")

    def _must(self, command: commands.Command, failed: str) -> None:
        """Run; where it fails, say what is known of its message and raise."""
        code, said = self.runner.observe(command)
        if code == 128 + signals.SIGINT:
            raise KeyboardInterrupt
        if code:
            if known := advice(said):
                say(f"\n{known}\n")
            ask = "" if known else "put the message to `invoke doctor --explain -`, or "
            raise HostError(Problem(failed, f"{ask}go on without Docker: add `--backend native`"))

    def _changed(self, standing: ContainerState) -> bool:
        """Whether compose would make another container: of another image, or with other settings."""
        if standing.container_image != standing.image_id:
            return True
        command = commands.compose_hash(self.plan, self.host, self.user)
        # The hash is the only answer needed, and World.run has no variables of its own.
        unset = (f"--unset={name}" for name in command.without)
        asked = ["env", *unset, *(f"{name}={value}" for name, value in command.env.items()), *command.argv]
        answer = self.world.run(asked)
        return not answer.ok or answer.out.split()[-1:] != [standing.config_hash]

    def _refuse_anothers(self, standing: ContainerState) -> None:
        """A container is of one checkout: to bring this one's up would end what runs for the other."""
        theirs = Path(standing.checkout)
        if standing.checkout and theirs.exists() and not theirs.samefile(self.root):
            name = commands.container_name(self.host)
            what = f"the container {name} belongs to another checkout, {theirs}"
            raise HostError(Problem(what, "give this one a name of its own: export COMPOSE_PROJECT_NAME=NAME"))

    def _refuse_to_end(self, standing: ContainerState) -> None:
        """Starting would replace a container that is not as asked for, and end what somebody runs in it."""
        if self.runner.dry or standing.container_state != "running" or not self._changed(standing):
            return
        lines = self.world.run(commands.top(self.host).argv).out.splitlines()[1:]
        running = [line.split(None, 1)[-1] for line in lines]
        busy = [line for line in running if not any(idle in line for idle in _IDLE)]
        if busy:
            what = f"the container would be replaced (another variant, GPUs or image are asked for) but runs: {busy[0]}"
            raise HostError(Problem(what, "wait for that to end, or end it: `invoke down`, then the same command"))

    def standing(self) -> ContainerState:
        """Ask Docker once for the image and the container."""
        container = commands.container_name(self.host)
        tag = commands.image_name(self.plan, self.host)
        found = _objects(self.world.run(["docker", "inspect", container, tag]).out)
        image: dict[str, Any] = next((o for o in found if "RootFS" in o), {})
        box: dict[str, Any] = next((o for o in found if "State" in o), {})
        state = box.get("State") or {}
        return ContainerState(
            image_id=str(image.get("Id", "")),
            image_digest=str(_labels(image).get(commands.INPUTS_LABEL, "")),
            container_image=str(box.get("Image", "")),
            container_state=str(state.get("Status", "")),
            health=str((state.get("Health") or {}).get("Status", "")),
            config_hash=str(_labels(box).get(_CONFIG_HASH, "")),
            checkout=str(_labels(box).get(_CHECKOUT, "")),
        )

    def run(self, argv: Sequence[str], terminal: bool) -> int:
        """Run in the container and return the exit code.

        At a terminal Docker hands over every key, Ctrl-C too. Without one its client keeps signals to itself, so the
        command notes its process id and the signal is sent in after it. A command that names files outside the
        checkout gets a container of its own that sees them.
        """
        mounts = mounts_for(argv, self.root)
        name = f"{commands.container_name(self.host)}-{os.getpid()}"
        note = f"/dev/shm/workspace-{os.getpid()}"
        if mounts:
            for mount in mounts:
                if mount.writable and not self.runner.dry:
                    Path(mount.source).mkdir(parents=True, exist_ok=True)  # Docker would make it root's
            command = commands.run_once(self.plan, self.host, self.user, argv, self.personal, mounts, name, terminal)
        else:
            noted = [ENTRYPOINT, *argv] if terminal else commands.noted([ENTRYPOINT, *argv], note)
            command = commands.execute(self.plan, self.host, noted, self.personal, terminal)

        def pass_on(number: int) -> None:
            signal = signals.Signals(number).name.removeprefix("SIG")
            send = commands.kill(name, signal) if mounts else commands.interrupt(self.host, note, signal)
            subprocess.run(send.argv, check=False, capture_output=True)

        return self.runner.run(command, None if terminal else pass_on)

    def stop(self) -> int:
        self._refuse_anothers(self.standing())
        return self.runner.run(commands.compose_down(self.plan, self.host, self.user))

    def state(self) -> list[str]:
        standing = self.standing()
        tag = commands.image_name(self.plan, self.host)
        current = "" if self._current(standing) else ", not current: the next `invoke up` rebuilds it"
        health = f", {standing.health}" if standing.health else ""
        return [
            f"image     {tag}" + (current if standing.image_id else ": not built"),
            f"container {commands.container_name(self.host)}: " + (standing.container_state or "none") + health,
        ]


def this_user(rootless: bool = False) -> commands.User:
    """Whose files the container writes; under a rootless engine its root is the user, and any other id is nobody."""
    import resource  # not on Windows, where this module is still imported

    uid, gid = (0, 0) if rootless else (os.getuid(), os.getgid())
    return commands.User(uid, gid, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1])


def _objects(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [o for o in found if isinstance(o, dict)] if isinstance(found, list) else []


def _labels(thing: dict[str, Any]) -> dict[str, Any]:
    return (thing.get("Config") or {}).get("Labels") or {}
