"""One workspace, whichever the back end: look, choose, and do everything through what was chosen.

workspace = open_workspace(Wishes(), Runner())
workspace.ensure()
code = workspace.run(["app", "train", "sentiment"], terminal=at_terminal())
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
from app.host.world import World


class Workspace(Protocol):
    """What every back end can do."""

    name: str
    host: Host
    plan: Plan

    def ensure(self) -> None:
        """Make and start what is not there yet; quick where all is."""

    def build(self, target: str) -> int:
        """Make the environment anew where it is not current: the image of a target, or the .venv."""

    def run(self, argv: Sequence[str], terminal: bool) -> int:
        """Run a command in the foreground and return its exit code."""

    def stop(self) -> int:
        """Stop what runs; loses nothing."""

    def state(self) -> list[str]:
        """What is built and what is running, a line each."""


class NativeWorkspace:
    """The `.venv` of this checkout."""

    name = "native"

    def __init__(self, root: Path, host: Host, plan: Plan, world: World, runner: Runner) -> None:
        self.root, self.host, self.plan, self.runner = root, host, plan, runner
        self.environment = Environment(root, host, plan, world, runner)

    def ensure(self) -> None:
        self.environment.ensure()

    def build(self, target: str) -> int:
        stamp = self.environment.ensure()
        say(f"{native.VENV} is there: {stamp.variant}, Python {stamp.python}")
        return 0

    def run(self, argv: Sequence[str], terminal: bool) -> int:
        stamp = self.environment.ensure()
        return self.runner.run(native.command_in(self.root, stamp, self.plan, argv))

    def stop(self) -> int:
        say("nothing to stop: the native workspace is a folder, .venv")
        return 0

    def state(self) -> list[str]:
        stamp = self.environment.current()
        if stamp is None:
            return ["venv      not made yet, or not from the present locks: the next command makes it"]
        return [f"venv      {native.VENV}: {stamp.variant}, Python {stamp.python}"]


class InsideWorkspace:
    """Already in the container: everything is here."""

    name = "inside"

    def __init__(self, host: Host, plan: Plan, runner: Runner) -> None:
        self.host, self.plan, self.runner = host, plan, runner

    def ensure(self) -> None:
        return

    def build(self, target: str) -> int:
        say("an image is built from outside the container: run `invoke build` on the host")
        return 2

    def run(self, argv: Sequence[str], terminal: bool) -> int:
        return self.runner.run(commands.Command(tuple(argv), commands.device_env(self.plan)))

    def stop(self) -> int:
        say("nothing to stop from inside the container; run `invoke down` on the host")
        return 0

    def state(self) -> list[str]:
        return ["container this one"]


def open_workspace(
    request: Request, runner: Runner, world: World | None = None, root: Path = ROOT, preflight: bool = False
) -> Workspace:
    """Look at the machine, choose, say what is not as it should be; nothing is made or started yet.

    With `preflight` everything that `invoke doctor` would warn of is said as well.

    Raises:
        HostError: everything that stands in the way of what was asked.
    """
    world = world or World()
    context = CheckContext.of(world, request)
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
    """What the pre-flight checks found beyond the plan's own warnings."""
    told = "\n".join(warning.what for warning in plan.warnings)
    # A check that failed stops what follows, and is told there.
    results = (r for r in examine(context) if r.status == "warn" and r.detail not in told)
    return [Problem(result.detail, result.fix) for result in results]


def describe(host: Host, plan: Plan) -> list[str]:
    """What was found on the machine and what was chosen, with the reason, a line each."""
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
        f"host      {host.release or host.system}, {host.machine}, {os.cpu_count()} CPUs{memory}",
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
    used = [str(card.index) for card in plan.cards]
    left = "" if len(used) == len(cards) else f"; used: {', '.join(used) or 'none'}"
    return f"{', '.join(cards)}, driver {host.gpus.driver}{left}"


def shell_command(plan: Plan, root: Path = ROOT) -> list[str]:
    """An interactive shell of the back end: bash in the container; natively the user's own, in the environment."""
    if plan.backend != "native":
        return ["bash"]
    shell = os.environ.get("SHELL") or "/bin/sh"
    return ["bash", "--rcfile", native.write_bashrc(root)] if Path(shell).name == "bash" else [shell]
