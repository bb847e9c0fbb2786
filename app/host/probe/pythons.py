"""Find a Python that the locks have wheels for: 3.10, else 3.11, on PATH, under pyenv, or uv's own."""

from __future__ import annotations

from dataclasses import dataclass

from app.host.probe.uv import find_uv
from app.host.variants import PYTHON, PYTHONS, parse_version
from app.host.world import World

# A Python built without one of these libraries installs everything and then fails at an import.
_PROBE = "import sys, bz2, ctypes, lzma, sqlite3, ssl; print('%d.%d.%d' % sys.version_info[:3])"
NO_COMPILE = "Python 3.11: torch.compile is off, because PyTorch 2.0's compiler stops at Python 3.10"


@dataclass(frozen=True)
class Python:
    """An interpreter that answered. `note` says what does not work with it."""

    path: str
    version: str
    note: str = ""


def find_python(world: World, versions: tuple[str, ...] = PYTHONS) -> Python | None:
    """The best one that is there, 3.10 before 3.11; None where there is none."""
    for version in versions:
        for path in _candidates(world, version):
            answer = world.run([path, "-c", _PROBE])
            if answer.ok and answer.out.strip().startswith(version + "."):
                return Python(path, answer.out.strip(), "" if version == PYTHON else NO_COMPILE)
    return None


def _candidates(world: World, version: str) -> list[str]:
    """Where it may be, in the order to try: a name on PATH may be a shim that does not know this version."""
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
