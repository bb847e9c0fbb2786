"""The workspace's tasks: `invoke --list` lists them, `invoke --help TASK` shows a task's arguments.

Each task inspects the machine, chooses a back end (docker, native, or inside the container) and runs through it.
Commands are printed before they run; `--dry` only prints them.
"""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Exit, Task, task

if TYPE_CHECKING:
    from app.host.workspace import Workspace

COMMON = {
    "backend": "docker, native or inside (default: WORKSPACE_BACKEND, or what this machine has)",
    "variant": "cu118, cu117 or cpu (default: WORKSPACE_VARIANT, or what this machine's GPUs run)",
    "gpus": "all, none, or nvidia-smi's numbers or ids: 0,2 (default: CUDA_VISIBLE_DEVICES, or all)",
    "dry": "print the exact commands and run nothing",
}


def workspace_task(iterable: tuple[str, ...] = (), **help: str) -> Callable[[Callable[..., int]], Any]:
    """Return a decorator that makes a task of a function that returns its exit code.

    A WorkspaceError is printed without a traceback. Options named in COMMON get their help from there.
    """

    def decorate(body: Callable[..., int]) -> Any:
        @functools.wraps(body)
        def reported(*args: Any, **kwargs: Any) -> None:
            from app.errors import WorkspaceError

            try:
                code = body(*args, **kwargs)
            except WorkspaceError as error:
                raise Exit(str(error), code=error.exit_code) from None
            except KeyboardInterrupt:
                raise Exit("stopped; run the same command again to continue", code=130) from None
            if code:
                raise Exit(code=code)

        parameters = inspect.signature(body).parameters
        common = {name: text for name, text in COMMON.items() if name in parameters}
        required = [n for n, p in parameters.items() if p.default is p.empty and n not in ("c", *iterable)]
        made = task(help={**help, **common}, iterable=list(iterable), positional=required, auto_shortflags=False)
        return made(reported)

    return decorate


def the_workspace(backend: str, variant: str, gpus: str, dry: bool, preflight: bool = False) -> Workspace:
    """Return the workspace that the common options request."""
    from app.host.backends.runner import Runner
    from app.host.plan.choose import Request
    from app.host.workspace import open_workspace
    from app.host.world import World

    world = World()
    return open_workspace(Request.of(world.env, variant, backend, gpus), Runner(dry), world, preflight=preflight)


def run(workspace: Workspace, *argv: str) -> int:
    """Start the workspace if necessary, run a command in it and return the command's exit code."""
    from app.host.backends.runner import at_terminal

    plan = workspace.ensure()
    return workspace.run(plan, argv, terminal=at_terminal())


@workspace_task(command="run this in the workspace instead of opening a shell; its exit code is returned")
def up(
    c: Context, command: str = "", backend: str = "", variant: str = "", gpus: str = "all", dry: bool = False
) -> int:
    """Bring the workspace up: show what this machine has, build, start, open a shell."""
    from app.host.backends.runner import at_terminal, say
    from app.host.workspace import describe, shell_command

    workspace = the_workspace(backend, variant, gpus, dry, preflight=True)
    for line in describe(workspace.host, workspace.plan):
        say(line)
    if command:
        return run(workspace, "bash", "-c", command)
    plan = workspace.ensure()
    if at_terminal():
        return workspace.run(plan, shell_command(plan), terminal=True)
    for line in workspace.state(plan):
        say(line)
    return 0


@workspace_task()
def shell(c: Context, backend: str = "", variant: str = "", gpus: str = "all", dry: bool = False) -> int:
    """Open one more shell in the workspace."""
    from app.host.backends.runner import at_terminal
    from app.host.workspace import shell_command

    workspace = the_workspace(backend, variant, gpus, dry)
    plan = workspace.ensure()  # first, because the shell's start file is written into the environment
    return workspace.run(plan, shell_command(plan), terminal=at_terminal())


@workspace_task(yes="do not ask, even if something runs")
def down(c: Context, backend: str = "", variant: str = "", yes: bool = False, dry: bool = False) -> int:
    """Stop the workspace, and ask first if something runs in it; runs, caches and images stay."""
    return the_workspace(backend, variant, "all", dry).stop(yes)


@workspace_task()
def status(c: Context, backend: str = "", variant: str = "", gpus: str = "all") -> int:
    """Show what this machine has, what is built and what is running."""
    from app.host.workspace import describe

    workspace = the_workspace(backend, variant, gpus, dry=False)
    print("\n".join([*describe(workspace.host, workspace.plan), *workspace.state(workspace.plan)]))
    return 0


@workspace_task(target="dev (a shell, a notebook, an editor) or runtime (a job on a GPU host)")
def build(
    c: Context, target: str = "dev", backend: str = "", variant: str = "", gpus: str = "all", dry: bool = False
) -> int:
    """Build the image (docker) or the .venv (native) from the locks."""
    return the_workspace(backend, variant, gpus, dry).build(target)


@workspace_task(
    iterable=("set",),
    recipe="a recipe's name (`invoke app recipes` lists them) or a YAML file",
    set="override one key of the recipe: --set trainer.max_epochs=1; can be repeated",
)
def train(
    c: Context, recipe: str, set: list[str], backend: str = "", variant: str = "", gpus: str = "all", dry: bool = False
) -> int:
    """Train or fine-tune a recipe and evaluate it: invoke train sentiment."""
    return run(the_workspace(backend, variant, gpus, dry), "app", "train", recipe, *set)


@workspace_task(arguments='the verb and its arguments in quotes: invoke app "runs"')
def app(c: Context, arguments: str, backend: str = "", variant: str = "", gpus: str = "all", dry: bool = False) -> int:
    """Run any verb of `app` in the workspace: invoke app "--help"."""
    words = _words(arguments)
    return run(the_workspace(backend, variant, gpus, dry), "app", *words)


def _words(line: str) -> list[str]:
    from app.errors import HostError, Problem

    try:
        return shlex.split(line)
    except ValueError as error:
        fix = 'close it; quote a text with an apostrophe once more: `invoke app "doctor explain \\"can\'t open\\""`'
        raise HostError(Problem(f"{line!r} cannot be split into words: {str(error).lower()}", fix)) from None


@workspace_task(
    iterable=("set",),
    recipe="measure only this recipe's steps (default: every recipe that ships)",
    set="override one key of the recipe: --set trainer.batch_size=64; may be repeated",
    budget="total time: 60s, 5m",
)
def bench(
    c: Context,
    set: list[str],
    recipe: str = "",
    budget: str = "5m",
    backend: str = "",
    variant: str = "",
    gpus: str = "all",
    dry: bool = False,
) -> int:
    """Measure how fast this machine is and how close the training steps come to its limits."""
    only = ["--recipe", recipe] if recipe else []
    return run(the_workspace(backend, variant, gpus, dry), "app", "bench", *only, *set, "--budget", budget)


@workspace_task(
    json="print one JSON document for programs",
    strict="a warning makes the exit code 1",
    explain="explain an error message instead: the message, a file that contains it, or - to paste it",
)
def doctor(
    c: Context,
    json: bool = False,
    strict: bool = False,
    explain: str = "",
    backend: str = "",
    variant: str = "",
    gpus: str = "all",
) -> int:
    """Check whether this machine can run the workspace, and show how to fix what it cannot."""
    from app.host.checks.preflight import doctor as examine
    from app.host.explain import answer, text_of
    from app.host.plan.choose import Request
    from app.host.world import World

    if explain:
        known = answer(text_of([explain]))
        print(known or "nothing is known about this message")
        return 0 if known else 1
    world = World()
    return examine(Request.of(world.env, variant, backend, gpus), world, json, strict)


def _checkout_backend(backend: str) -> str:
    """Return the back end for tests and linters: native, since the image tests need the host's Docker engine."""
    inside = "inside" if "WORKSPACE_INSIDE" in os.environ else "native"
    return backend or os.environ.get("WORKSPACE_BACKEND") or inside


@workspace_task(
    fast="skip tests that take minutes (slow) or need a Docker engine (images)",
    path="run only the tests under this path",
)
def test(
    c: Context,
    fast: bool = False,
    path: str = "",
    backend: str = "",
    variant: str = "",
    gpus: str = "all",
    dry: bool = False,
) -> int:
    """Run every test that this machine can run."""
    workspace = the_workspace(_checkout_backend(backend), variant, gpus, dry)
    options = ["-m", "not slow and not images"] if fast else []
    return run(workspace, "pytest", *options, *([path] if path else []))


@workspace_task(fix="let ruff fix what it can")
def lint(
    c: Context, fix: bool = False, backend: str = "", variant: str = "", gpus: str = "all", dry: bool = False
) -> int:
    """Check style and types: ruff and mypy, both strict, and shellcheck."""
    from app.host.lint import lint_commands
    from app.host.probe.machine import ROOT

    workspace = the_workspace(_checkout_backend(backend), variant, gpus, dry)
    return max(run(workspace, *command) for command in lint_commands(ROOT, fix))


@workspace_task(upgrade="upgrade to the newest releases that the pins allow, instead of keeping the locked ones")
def lock(c: Context, upgrade: bool = False) -> int:
    """Resolve docker/locks/*.in into the lock files, with a hash for every download."""
    from app.host.backends.lockfiles import write_locks
    from app.host.backends.runner import say
    from app.host.probe.machine import ROOT

    changed = write_locks(ROOT / "docker" / "locks", upgrade)
    say(f"changed: {', '.join(changed)}" if changed else "nothing changed")
    return 0


@workspace_task(
    runs="also remove the folder runs/ with every trained model",
    cache="also remove the caches: downloaded models, encoded data, compiled kernels",
    images="also remove the images",
    yes="do not ask",
)
def clean(
    c: Context,
    runs: bool = False,
    cache: bool = False,
    images: bool = False,
    yes: bool = False,
    dry: bool = False,
) -> int:
    """Remove the environment and the containers; runs, caches and images only with their options."""
    from app.host.backends.clean import agreed, removal, remove
    from app.host.backends.runner import Runner, say
    from app.host.probe.machine import ROOT, detect
    from app.host.world import World

    world = World()
    what = removal(world, detect(world, ask_gpus=False), ROOT, runs, cache, images)
    if not what:
        say("there is nothing to remove")
        return 0
    return remove(what, Runner(dry)) if agreed(what, yes or dry) else 1


def _check_command_line(names: dict[str, Task[Any]]) -> None:
    """Exit with the nearest name if the command line has an unknown task or option.

    Called at import, because invoke has no hook between loading the tasks and parsing the command line.
    """
    program = Path(sys.argv[0])
    if program.name not in ("invoke", "inv") and program.parts[-2:] != ("invoke", "__main__.py"):
        return  # imported by another program
    if sys.argv[1:2] == ["--complete"]:
        _stop_at_an_open_quote(" ".join(sys.argv[2:]))
        return
    from app.host.spelling import correction

    flags = {name: _flags(t.body) for name, t in names.items()}
    bare = {name: [f"--{argument}" for argument in t.positional] for name, t in names.items()}
    if problem := correction(sys.argv[1:], flags, bare):
        raise Exit(str(problem), code=2)


def _stop_at_an_open_quote(line: str) -> None:
    """Exit without completions inside `invoke app "runs ...`: invoke would print a traceback at every TAB."""
    try:
        shlex.split(line)
    except ValueError:
        raise Exit(code=0) from None


def _flags(body: Callable[..., Any]) -> dict[str, bool]:
    """Return a task's options; True if the option takes a value."""
    parameters = list(inspect.signature(body).parameters.values())[1:]
    return {f"--{p.name}": not isinstance(p.default, bool) for p in parameters}


ns = Collection(up, down, shell, build, train, app, bench, status, doctor, test, lint, lock, clean)
_check_command_line(ns.tasks)
