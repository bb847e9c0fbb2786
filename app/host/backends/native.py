"""The native environment: a locked `.venv` at the project's root, made by uv from the same locks as the images.

A finished environment has a stamp, `.venv/.workspace-lock`, and is reused within milliseconds as long as the stamp
matches the locks. A new one is made in `.venv.partial` and moved to `.venv` when it is complete: an interrupted or
failed installation keeps the old one, and an incomplete one is never used.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

from app.errors import HostError, Problem, print_warning
from app.host.backends import commands
from app.host.backends.lock import exclusive
from app.host.backends.lockfiles import lock_files, lock_hash
from app.host.backends.runner import Runner, say
from app.host.plan.choose import Plan, space_for
from app.host.plan.wheels import FetchProbe, fetch_obstacle, with_fallback
from app.host.probe.certificates import ca_env, write_ca_bundle
from app.host.probe.machine import Host
from app.host.probe.pythons import NO_UV, Python, find_python, find_uv
from app.host.variants import DEFAULT_INDEX, PYTHON, VARIANTS, Variant
from app.host.world import World

VENV = ".venv"
STAMP = ".workspace-lock"
_PARTIAL = ".venv.partial"
_OLD = ".venv.old"


@dataclass(frozen=True)
class Stamp:
    """What a finished environment was made from.

    `wanted` is the variant that was chosen, `variant` the installed one: another if the wheels were out of reach.
    `root` is the checkout whose code it imports: a copy of the folder would run the code of the original.
    """

    lock: str
    wanted: str
    variant: str
    python: str
    root: str

    @staticmethod
    def read(folder: Path) -> Stamp | None:
        try:
            values = json.loads((folder / STAMP).read_text(encoding="utf-8"))
            return Stamp(**{field.name: str(values[field.name]) for field in fields(Stamp)})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        new = folder / f"{STAMP}.new"
        new.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        new.replace(folder / STAMP)


class Environment:
    """The `.venv` of one checkout."""

    def __init__(self, root: Path, host: Host, plan: Plan, world: World, runner: Runner) -> None:
        self.root, self.host, self.plan, self.world, self.runner = root, host, plan, world, runner
        self.folder = root / VENV

    def current(self) -> Stamp | None:
        """Return the stamp if the environment is complete and matches the plan and the locks, else None."""
        stamp = Stamp.read(self.folder)
        if stamp is None or self.plan.variant.name not in (stamp.wanted, stamp.variant):
            return None
        # If the interpreter was uninstalled since, the link is broken.
        if stamp.root != str(self.root) or not (self.folder / "bin" / "python").exists():
            return None
        return stamp if stamp.variant in VARIANTS and stamp.lock == self._lock(VARIANTS[stamp.variant]) else None

    def ensure(self, probe: FetchProbe | None = None) -> Stamp:
        """Reuse the environment, or make it; return its stamp.

        Raises:
            HostError: no uv, no Python, no space, wheels out of reach, a `.venv` not made here, a failed install.
        """
        if not self.runner.dry:
            write_ca_bundle(self.world, self.root)
        if stamp := self.current():
            return stamp
        with nullcontext() if self.runner.dry else exclusive(self.root, "environment"):
            # Another invocation may have made it while this one waited.
            return self.current() or self._make(probe or partial(fetch_obstacle, ca_bundle=self.host.ca_bundle))

    def _make(self, probe: FetchProbe) -> Stamp:
        no_uv = None if find_uv(self.world) else NO_UV
        problems = [p for p in (self._foreign(), no_uv, space_for(self.host, self.plan)) if p]
        if problems:
            raise HostError(*problems)
        plan = self._reachable_plan(probe)
        if problem := space_for(self.host, plan):
            raise HostError(problem)
        variant = plan.variant
        python = self._python()
        if python.note:
            fix = f"for torch.compile, install Python {PYTHON}: `uv python install {PYTHON}`"
            print_warning(Problem(python.note, fix))
        say(f"making {VENV} for {variant.name}, Python {python.version}; later commands reuse it")
        dry = self.runner.dry
        if not dry:
            shutil.rmtree(self.root / _PARTIAL, ignore_errors=True)
        failed = Problem(
            f"making {VENV} failed: see the message above",
            "repeat the command: what was downloaded is kept. Behind a proxy set HTTPS_PROXY, for a mirror "
            "PIP_INDEX_URL, for a company's certificates WORKSPACE_CA_BUNDLE",
        )
        locks = [f"docker/locks/{name}" for name in lock_files(variant.name, dev=True)]
        self.runner.must(commands.uv_venv(python.path, _PARTIAL), failed)
        trust = ca_env(self.world, self.root)
        self.runner.must(commands.uv_install(_PARTIAL, locks, trust, self._uv_index()), failed)
        self.runner.must(commands.uv_install_project(_PARTIAL), failed)
        stamp = Stamp(self._lock(variant), self.plan.variant.name, variant.name, python.version, str(self.root))
        if not dry:
            stamp.write(self.root / _PARTIAL)
            self._move_in()
        return stamp

    def _move_in(self) -> None:
        old = self.root / _OLD
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(old)
        (self.root / _PARTIAL).rename(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def _foreign(self) -> Problem | None:
        if not self.folder.exists() or Stamp.read(self.folder) is not None:
            return None
        return Problem(f"{VENV} is there and was not made by this workspace", f"move it away: `mv {VENV} {VENV}.mine`")

    def _python(self) -> Python:
        if found := find_python(self.world, (PYTHON,)):
            return found
        say(f"there is no Python {PYTHON} here; asking uv for one")
        fetch = replace(commands.uv_python(PYTHON), env=ca_env(self.world, self.root))
        if self.runner.run(fetch) == 0:
            if self.runner.dry:
                return Python(PYTHON, PYTHON)
            if fetched := find_python(self.world, (PYTHON,)):
                return fetched
        if found := find_python(self.world):
            return found
        raise HostError(
            Problem(
                f"there is no Python {PYTHON} or 3.11 on PATH, from pyenv or from uv, and uv could not fetch one",
                f"install it: `sudo apt-get install python{PYTHON} python{PYTHON}-dev`, or `pyenv install {PYTHON}`",
            )
        )

    def _reachable_plan(self, probe: FetchProbe) -> Plan:
        """Return the plan to install by: this one, or its fallback if wheels cannot be fetched. May take seconds."""
        if not self.host.x86_linux:
            # The wheels of the other variants are for Linux on x86_64 only; this lock has wheels for this platform.
            return replace(self.plan, variant=VARIANTS[DEFAULT_INDEX])
        plan, warning = with_fallback(self.plan, self.root, probe)
        if warning:
            print_warning(warning)
        return plan

    def _uv_index(self) -> dict[str, str]:
        """Return pip's variable for a mirror under uv's name. Not printed, because it may hold a password."""
        mirror = self.world.env.get("PIP_INDEX_URL")
        return {"UV_DEFAULT_INDEX": mirror} if mirror and "UV_DEFAULT_INDEX" not in self.world.env else {}

    def _lock(self, variant: Variant) -> str:
        return lock_hash(self.root / "docker" / "locks", variant.name, dev=True)


def command_in(root: Path, plan: Plan, argv: Sequence[str], world: World | None = None) -> commands.Command:
    """Return the command that runs `argv` with the environment first on PATH; a nested `invoke` uses it too."""
    world = world or World()
    program = Path(VENV, "bin", argv[0])
    found = [str(program)] if (root / program).exists() else [argv[0]]
    background = {
        "VIRTUAL_ENV": str(root / VENV),
        "PATH": os.pathsep.join([str(root / VENV / "bin"), world.env.get("PATH", "")]),
        "WORKSPACE_BACKEND": "native",
        "WORKSPACE_VARIANT": plan.variant.name,
    }
    return commands.Command((*found, *argv[1:]), {**commands.device_env(plan), **ca_env(world, root)}, background)


def write_bashrc(root: Path) -> str:
    """Write the start file of an interactive bash and return its path, relative to `root`.

    It runs the user's ~/.bashrc first, because that may put other Pythons first on PATH.
    """
    file = Path(VENV, "bin", "workspace-bashrc")
    text = "test -f ~/.bashrc && . ~/.bashrc\n. .venv/bin/activate\n"
    if (root / VENV).is_dir():
        (root / file).write_text(text, encoding="utf-8")
    return str(file)
