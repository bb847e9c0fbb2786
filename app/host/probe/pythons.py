"""Find uv, and a Python that the locks have wheels for: 3.10, else 3.11, on PATH, under pyenv or from uv."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from app.errors import Problem
from app.host.variants import PYTHON, PYTHONS, parse_version
from app.host.world import World

# `pip install invoke uv` puts uv next to the Python that runs invoke, in a folder that need not be on PATH.
PYTHON_BIN = str(Path(sys.executable).parent)
NO_UV = Problem("uv, which makes the locks and the native environment, is not installed", "pip install uv")

# A Python built without one of these libraries installs all packages and then fails at an import.
_PROBE = "import sys, bz2, ctypes, lzma, sqlite3, ssl; print('%d.%d.%d' % sys.version_info[:3])"
NO_COMPILE = "Python 3.11: torch.compile is off, because PyTorch 2.0's compiler stops at Python 3.10"


@dataclass(frozen=True)
class Python:
    """An interpreter that runs. `note` says what does not work with it."""

    path: str
    version: str
    note: str = ""


def find_python(world: World, versions: tuple[str, ...] = PYTHONS) -> Python | None:
    """Return the first of `versions` that is installed (3.10 before 3.11), or None if none is."""
    for version in versions:
        for path in _candidates(world, version):
            answer = world.run([path, "-c", _PROBE])
            if answer.ok and answer.out.strip().startswith(version + "."):
                return Python(path, answer.out.strip(), "" if version == PYTHON else NO_COMPILE)
    return None


def _candidates(world: World, version: str) -> list[str]:
    """Return the paths to try, in order. A name on PATH may be a pyenv shim that does not know this version."""
    found: list[str | None] = [world.which(f"python{version}")]
    home = world.env.get("HOME", "")
    pyenv = world.env.get("PYENV_ROOT") or f"{home}/.pyenv"
    versions = f"{pyenv}/versions/"
    built = world.glob(f"{versions}{version}.*/bin/python{version}")
    newest_first = sorted(built, key=lambda p: parse_version(p.removeprefix(versions)), reverse=True)
    found += newest_first
    if uv := find_uv(world):
        answer = world.run([uv, "python", "find", "--managed-python", "--no-python-downloads", version])
        found.append(answer.out.strip() if answer.ok else None)
    return [path for path in found if path]


def find_uv(world: World) -> str | None:
    """Return the path of uv: on PATH, or in `PYTHON_BIN`; None if it is not installed."""
    path = f"{PYTHON_BIN}/uv"
    return world.which("uv") or (path if world.exists(path) else None)
