"""The docker back end: build or reuse the image, start or reuse the container, run in it.

If nothing has changed, a command costs four questions to Docker (the engine, compose's containers and its hash, the
container with its image) and one `exec`.
"""

from __future__ import annotations

import json
import os
import signal as signals
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.errors import HostError, Problem, print_warning
from app.host.backends import commands
from app.host.backends.build_inputs import build_inputs
from app.host.backends.containers import Container, Process, asked, containers, dev_container, running, shown
from app.host.backends.disk import builder_cache
from app.host.backends.lock import exclusive
from app.host.backends.mounts import mounts_for
from app.host.backends.runner import Runner, agrees, say
from app.host.plan.choose import ASKED, Plan, space_for
from app.host.plan.wheels import FetchProbe, fallback, fetch_obstacle, with_fallback
from app.host.probe.engine import Engine
from app.host.probe.machine import Host
from app.host.world import World

ENTRYPOINT = "/usr/local/bin/entrypoint.sh"  # finds a home and caches that this user can write to
_CONFIG_HASH = "com.docker.compose.config-hash"
_CHECKOUT = "com.docker.compose.project.working_dir"
_WITHOUT_DOCKER = "continue without Docker: add `--backend native`"


@dataclass(frozen=True)
class ContainerState:
    """The image and the container of this workspace, as Docker reports them. Empty strings if there is none."""

    image_id: str = ""
    image_digest: str = ""  # commands.INPUTS_LABEL of the image
    container_image: str = ""
    container_state: str = ""  # running, exited, ...
    health: str = ""
    config_hash: str = ""
    checkout: str = ""
    name: str = ""  # of the container, or the one that it would get

    @property
    def running(self) -> bool:
        return self.container_state == "running" and self.health in ("", "healthy")


class DockerWorkspace:
    """The dev service of compose.yaml, with the plan's overlay.

    `plan` is the one chosen for this machine, or its fallback if an earlier build found the wheels out of reach.
    """

    name = "docker"

    def __init__(
        self, root: Path, host: Host, plan: Plan, world: World, runner: Runner, probe: FetchProbe | None = None
    ) -> None:
        self.root, self.host, self.world, self.runner = root, host, world, runner
        self.memory = root / ".cache" / "out-of-reach"
        known = plan.variant.name in self._unreached() and plan.why_variant != ASKED
        self.plan = (fallback(plan) or plan) if known else plan
        self.probe = probe or partial(fetch_obstacle, ca_bundle=host.ca_bundle)
        rootless = isinstance(host.engine, Engine) and host.engine.rootless
        self.user = this_user(rootless)
        self.personal = [name for name in commands.PERSONAL if world.env.get(name) or name in host.proxies]
        self._container = ""  # the container's name, once compose has said it

    def ensure(self) -> Plan:
        """Build the image and start the container if needed, wait until it is healthy, and return the plan used.

        Raises:
            HostError: the disk is full, or a build or a start failed; known messages are explained on stderr.
        """
        if self._ready(self.plan):
            return self.plan
        with nullcontext() if self.runner.dry else exclusive(self.root, "container"):
            # Another invocation may have brought it up while this one waited.
            if not self.runner.dry and self._ready(self.plan):
                return self.plan
            return self._bring_up()

    def _ready(self, plan: Plan) -> bool:
        state = self.container_state(plan)
        self._refuse_other_checkout(state)
        return self._current(plan, state) and state.running and not self._changed(plan, state)

    def _bring_up(self) -> Plan:
        plan = self.plan
        if not self._current(plan, self.container_state(plan)):
            plan = self._reachable_plan()
            if not self._current(plan, self.container_state(plan)):
                self._build(plan, "dev")
        if self.runner.dry or not self._ready(plan):
            self._start(plan)
        return plan

    def build(self, target: str) -> int:
        """Build one target and return 0; unchanged layers come from the builder's cache."""
        if target not in commands.TARGETS:
            known = ", ".join(commands.TARGETS)
            raise HostError(Problem(f"the Dockerfile has no target {target!r}", f"use one of: {known}"))
        self._build(self._reachable_plan(), target)
        return 0

    def _reachable_plan(self) -> Plan:
        """Return the plan to build by: this one, or its fallback if the wheels cannot be fetched. May take seconds."""
        plan, warning = with_fallback(self.plan, self.root, self.probe)
        if warning:
            print_warning(warning)
        return plan

    def _unreached(self) -> list[str]:
        return self.memory.read_text(encoding="utf-8").split() if self.memory.exists() else []

    def _inputs(self, plan: Plan, target: str) -> commands.BuildInputs:
        return build_inputs(self.world, self.host, self.root, plan.variant, target, plan.base_image)

    def _current(self, plan: Plan, state: ContainerState) -> bool:
        """Return whether the image is the one that the checkout asks for; a user's own image is used as it is."""
        own = "WORKSPACE_IMAGE" in self.host.env
        return bool(state.image_id) and (own or state.image_digest == self._inputs(plan, "dev").digest)

    def _build(self, plan: Plan, target: str) -> None:
        if problem := space_for(self.host, plan):
            # What is in the image or in the builder's cache already needs no further space.
            if not self.container_state(plan).image_id and builder_cache(self.world) < plan.variant.image_gb / 2:
                raise HostError(problem)
            print_warning(problem)
        command = commands.build(plan, self.host, self._inputs(plan, target), target)
        name = commands.image_name(plan, self.host, target)
        self.runner.must(command, Problem(f"building {name} failed: see the message above", _WITHOUT_DOCKER))
        # The build fetched other wheels, so the network is up and only this variant's index is out of reach.
        if plan.variant is not self.plan.variant and not self.runner.dry:
            self.memory.parent.mkdir(exist_ok=True)
            self.memory.write_text("\n".join({*self._unreached(), self.plan.variant.name}), encoding="utf-8")

    def _start(self, plan: Plan) -> None:
        self._refuse_to_end(plan, self.container_state(plan))
        command = commands.compose_up(plan, self.host, self.user, self.root)
        logs = "`docker compose logs dev`"
        failed = f"the container did not start: see the message above and {logs}"
        self.runner.must(command, Problem(failed, _WITHOUT_DOCKER))
        self._container = ""

    def _changed(self, plan: Plan, state: ContainerState) -> bool:
        """Return whether compose would replace the container: for another image, or with other settings."""
        if state.container_image != state.image_id:
            return True
        answer = self.world.run(asked(commands.compose_hash(plan, self.host, self.user, self.root)))
        return not answer.ok or answer.out.split()[-1:] != [state.config_hash]

    def _refuse_other_checkout(self, state: ContainerState) -> None:
        """Raise HostError if the container belongs to another checkout: to replace it would end what runs there."""
        theirs = Path(state.checkout)
        if state.checkout and theirs.exists() and not theirs.samefile(self.root):
            what = f"the container {state.name} belongs to another checkout, {theirs}"
            raise HostError(Problem(what, "give this one its own name: export COMPOSE_PROJECT_NAME=NAME"))

    def _refuse_to_end(self, plan: Plan, state: ContainerState) -> None:
        """Raise HostError if starting would replace a container in which somebody runs a command."""
        if self.runner.dry or state.container_state != "running" or not self._changed(plan, state):
            return
        busy = [process for process in self.processes(plan) if not process.container.single]
        if busy:
            why = "another variant, GPUs or image are asked for"
            what = f"the container would be replaced ({why}) but runs: {busy[0].line}"
            raise HostError(Problem(what, "wait for that to end, or end it: `invoke down`, then the same command"))

    def container_state(self, plan: Plan) -> ContainerState:
        """Return the state of the plan's image and of the container, from one question to Docker."""
        container = self._name(plan)
        tag = commands.image_name(plan, self.host)
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
            name=container,
        )

    def _name(self, plan: Plan) -> str:
        """Return the container's name, or the one that it would most likely get."""
        if not self._container:
            listed = dev_container(self._containers(plan))
            self._container = listed.name if listed else ""
        if self._container:
            return self._container
        env = self.world.env
        project = env.get("COMPOSE_PROJECT_NAME") or commands.project(self.root, env.get("USER", ""))
        return f"{project}-{commands.SERVICE}-1"

    def _containers(self, plan: Plan) -> list[Container]:
        return containers(self.world, commands.compose_ps(plan, self.host, self.user, self.root))

    def processes(self, plan: Plan) -> list[Process]:
        """Return what runs in the workspace's containers, apart from what always does."""
        return running(self.world, self._containers(plan))

    def run(self, plan: Plan, argv: Sequence[str], terminal: bool) -> int:
        """Run a command in the container and return its exit code.

        At a terminal Docker passes on every key, Ctrl-C too. Without one, its client does not forward signals, so the
        command writes down its process id and a second `docker exec` sends the signal. A command that names files
        outside the checkout runs in a separate container that mounts them.
        """
        mounts = mounts_for(argv, self.root)
        container = self._name(plan)
        name = f"{container}-{os.getpid()}"
        note = f"/dev/shm/workspace-{os.getpid()}"
        if mounts:
            command = commands.run_once(
                plan, self.host, self.user, self.root, argv, self.personal, mounts, name, terminal
            )  # fmt: skip
        else:
            noted = [ENTRYPOINT, *argv] if terminal else commands.noted([ENTRYPOINT, *argv], note)
            command = commands.execute(plan, self.host, container, noted, self.personal, terminal)

        def pass_on(number: int) -> None:
            signal = signals.Signals(number).name.removeprefix("SIG")
            send = commands.kill(name, signal) if mounts else commands.interrupt(container, note, signal)
            subprocess.run(send.argv, check=False, capture_output=True)

        with nullcontext() if self.runner.dry else self._mountable(mounts, name):
            return self.runner.run(command, None if terminal else pass_on)

    @contextmanager
    def _mountable(self, mounts: Sequence[commands.Mount], name: str) -> Iterator[None]:
        """Make the folders to write into, which Docker would make as root, and for a block the compose file needed."""
        for mount in mounts:
            if mount.writable:
                Path(mount.source).mkdir(parents=True, exist_ok=True)
        file = self.root / commands.mounts_file(name)
        if commands.needs_file(mounts):
            file.parent.mkdir(exist_ok=True)
            services = {commands.SERVICE: {"volumes": [mount.volume for mount in mounts]}}
            file.write_text(json.dumps({"services": services}), encoding="utf-8")  # JSON is YAML
        try:
            yield
        finally:
            file.unlink(missing_ok=True)

    def stop(self, yes: bool = False) -> int:
        """Stop the containers; a running command gets SIGTERM first, and a minute for its last checkpoint.

        Raises HostError if something runs and nobody can be asked.
        """
        self._refuse_other_checkout(self.container_state(self.plan))
        busy = self.processes(self.plan)
        if busy:
            say("this runs, and will be asked to end (a training writes a checkpoint first):")
            for process in busy:
                say(f"  {process.line} (for {process.since})")
            if not self.runner.dry and not agrees("stop it? [y/N] ", yes, "nothing was stopped"):
                return 1
        return self.runner.run(commands.compose_down(self.plan, self.host, self.user, self.root))

    def state(self, plan: Plan) -> list[str]:
        found = self.container_state(plan)
        tag = commands.image_name(plan, self.host)
        current = "" if self._current(plan, found) else ", not current: the next `invoke up` rebuilds it"
        health = f", {found.health}" if found.health else ""
        busy = [shown(process, self.world) for process in self.processes(plan)]
        return [
            f"image     {tag}" + (current if found.image_id else ": not built"),
            f"container {found.name}: " + (found.container_state or "none") + health,
            *(f"running   {line}" for line in busy),
            *(["          `invoke shell` opens a shell next to it, `invoke down` stops everything"] if busy else []),
        ]


def this_user(rootless: bool = False) -> commands.User:
    """Return the user that the container runs as; root under a rootless engine, which maps root to this user."""
    import resource  # missing on Windows, which still imports this module

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
