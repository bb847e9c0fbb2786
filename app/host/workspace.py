"""One interface to the workspace, whichever back end it uses.

workspace = open_workspace(Request(), Runner())
plan = workspace.ensure()
code = workspace.run(plan, ["app", "train", "sentiment"], terminal=at_terminal())
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from app.errors import HostError, Problem, print_warning
from app.host.backends import commands, native
from app.host.backends.docker import DockerWorkspace
from app.host.backends.native import Environment
from app.host.backends.runner import Runner, say
from app.host.checks.context import CheckContext
from app.host.checks.preflight import examine
from app.host.plan.choose import Plan, Request
from app.host.probe.engine import Engine
from app.host.probe.machine import ROOT, Host
from app.host.variants import VARIANTS
from app.host.world import World


class Workspace(Protocol):
    """What every back end can do. `plan` is the one chosen for this machine; no method changes it."""

    name: str
    host: Host
    plan: Plan

    def ensure(self) -> Plan:
        """Make and start what is missing, and return the plan used: the fallback if wheels are out of reach."""

    def build(self, target: str) -> int:
        """Build the image of a target, or the .venv, if it is not current; return the exit code."""

    def run(self, plan: Plan, argv: Sequence[str], terminal: bool) -> int:
        """Run a command in the foreground, under the plan that `ensure` returned, and return its exit code."""

    def stop(self, yes: bool = False) -> int:
        """Stop the container, after a question if something runs in it; runs, caches and images stay.

        Return the exit code; `yes` answers the question.
        """

    def state(self, plan: Plan) -> list[str]:
        """Return what is built and what is running, one line each."""


class NativeWorkspace:
    """The `.venv` of this checkout."""

    name = "native"

    def __init__(self, root: Path, host: Host, plan: Plan, world: World, runner: Runner) -> None:
        self.root, self.host, self.plan, self.runner = root, host, plan, runner
        self.environment = Environment(root, host, plan, world, runner)

    def ensure(self) -> Plan:
        return replace(self.plan, variant=VARIANTS[self.environment.ensure().variant])

    def build(self, target: str) -> int:
        stamp = self.environment.ensure()
        say(f"{native.VENV} is there: {stamp.variant}, Python {stamp.python}")
        return 0

    def run(self, plan: Plan, argv: Sequence[str], terminal: bool) -> int:
        return self.runner.run(native.command_in(self.root, plan, argv))

    def stop(self, yes: bool = False) -> int:
        say("nothing to stop: the native workspace is a folder, .venv")
        return 0

    def state(self, plan: Plan) -> list[str]:
        stamp = self.environment.current()
        if stamp is None:
            return ["venv      not made yet, or made from other locks: the next command makes it"]
        return [f"venv      {native.VENV}: {stamp.variant}, Python {stamp.python}"]


class InsideWorkspace:
    """The container that this process already runs in."""

    name = "inside"

    def __init__(self, host: Host, plan: Plan, runner: Runner) -> None:
        self.host, self.plan, self.runner = host, plan, runner

    def ensure(self) -> Plan:
        return self.plan

    def build(self, target: str) -> int:
        say("an image is built from outside the container: run `invoke build` on the host")
        return 2

    def run(self, plan: Plan, argv: Sequence[str], terminal: bool) -> int:
        return self.runner.run(commands.Command(tuple(argv), commands.device_env(plan)))

    def stop(self, yes: bool = False) -> int:
        say("nothing to stop from inside the container; run `invoke down` on the host")
        return 0

    def state(self, plan: Plan) -> list[str]:
        return ["container this one"]


def open_workspace(
    request: Request, runner: Runner, world: World | None = None, root: Path = ROOT, preflight: bool = False
) -> Workspace:
    """Detect the machine, choose a plan and return its workspace; print warnings, make and start nothing.

    If `preflight`, print what `invoke doctor` would warn of as well.

    Raises:
        HostError: the request cannot be met; the error lists every reason.
    """
    world = world or World()
    context = CheckContext.of(world, request, request.wants_gpus(world.env))
    host, plan = context.host, context.plan
    if plan is None:
        raise HostError(*context.problems)
    for problem in [*plan.warnings, *(_further_warnings(context, plan) if preflight else [])]:
        print_warning(problem)
    if plan.backend == "docker":
        return DockerWorkspace(root, host, plan, world, runner)
    if plan.backend == "inside":
        return InsideWorkspace(host, plan, runner)
    return NativeWorkspace(root, host, plan, world, runner)


def _further_warnings(context: CheckContext, plan: Plan) -> list[Problem]:
    """Return the warnings of the pre-flight checks that the plan does not give already."""
    given = "\n".join(warning.what for warning in plan.warnings)
    # A failed check is reported by the step that it stops.
    results = (r for r in examine(context) if r.status == "warn" and r.detail not in given)
    return [Problem(result.detail, result.fix) for result in results]


def describe(host: Host, plan: Plan) -> list[str]:
    """Return what was found on the machine and what was chosen, with the reason, one line each."""
    engine = host.engine
    if isinstance(engine, Engine):
        parts = [f"buildx {engine.buildx}"] if engine.buildx else []
        parts += [f"compose {engine.compose}"] if engine.compose else []
        docker = f"Docker {engine.version}" + (f" ({', '.join(parts)})" if parts else "")
    else:
        docker = f"none: {engine.absence.value}"
    memory = f", {host.memory_bytes / 1e9:.0f} GB memory" if host.memory_bytes else ""
    variant = plan.variant
    how = {
        "runtime": " through the NVIDIA runtime",
        "cdi": " through CDI",
    }.get(plan.gpu_mode, "")
    lines = [
        f"host      {host.release or host.system}, {host.machine}, {host.cores:g} CPUs{memory}",
        f"engine    {docker}",
        f"GPUs      {_cards(host, plan)}{how}",
        f"variant   {variant.name} (torch {variant.torch}): {plan.why_variant}",
        f"back end  {plan.backend}: {plan.why_backend}",
    ]
    return [line for line in lines if plan.backend != "inside" or not line.startswith("engine")]


def _cards(host: Host, plan: Plan) -> str:
    if not host.gpus.cards:
        return f"none: {host.gpus.reason}"
    cards = [f"{card.index}: {card.name} ({card.sm})" for card in host.gpus.cards]
    used = plan.visible or ("" if plan.cards else "none")
    left = f"; used: {used}" if used else ""
    return f"{', '.join(cards)}, driver {host.gpus.driver}{left}"


def shell_command(plan: Plan, root: Path = ROOT) -> list[str]:
    """Return the command of an interactive shell: bash in the container; natively the user's shell, in the `.venv`."""
    if plan.backend != "native":
        return ["bash"]
    shell = os.environ.get("SHELL") or "/bin/sh"
    return ["bash", "--rcfile", native.write_bashrc(root)] if Path(shell).name == "bash" else [shell]
