"""The lock files: how they are made, and the hash that identifies an environment. Run by `invoke lock`.

Everything is resolved at once, so that all files agree, and then split by what changes together:

    torch-<variant>.txt  the torch set, gigabytes (cu118 and cpu by hand: their index cannot be reached everywhere)
    runtime.txt          what `app` needs in addition
    dev.txt              runtime.txt and the tools of the dev image and the native workspace
    build.txt            the installer of the image build

Every file is complete for `uv pip install --no-deps --require-hashes`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from app.errors import HostError, Problem
from app.host.probe.pythons import NO_UV, find_uv
from app.host.world import World

# The packages whose wheels are gigabytes and differ between variants.
TORCH_SET = re.compile(r"^(torch|torchvision|torchaudio|triton|nvidia-[a-z]+(-[a-z]+)?-cu11)$")
MADE = ("torch-cu117.txt", "runtime.txt", "dev.txt", "build.txt")


def lock_files(variant: str, dev: bool) -> tuple[str, str]:
    """Return the names of the two lock files that make an environment: the torch set, and the rest."""
    return f"torch-{variant}.txt", "dev.txt" if dev else "runtime.txt"


def lock_hash(locks: Path, variant: str, dev: bool) -> str:
    """Return the SHA-256 of the lock files of an environment, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name in lock_files(variant, dev):
        digest.update(name.encode() + b"\0" + (locks / name).read_bytes() + b"\0")
    return digest.hexdigest()


def blocks(requirements: str) -> dict[str, list[str]]:
    """Split a compiled requirements file into its entries by package name; an entry keeps its hashes and comments."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in requirements.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            name = re.split(r"[=@ ;\[]", line, maxsplit=1)[0].lower()
            found.setdefault(name, []).append(line)
        elif name:
            found[name][-1] += "\n" + line
    return found


def write_locks(locks: Path, upgrade: bool = False) -> list[str]:
    """Resolve and write every generated lock file; return the names of those that changed.

    Existing pins are kept if they still fit, unless `upgrade`. All files are replaced together at the end, so that a
    failure keeps the old ones.

    Raises:
        HostError: uv is missing, the index does not answer, or the pins contradict each other.
    """
    with tempfile.TemporaryDirectory(dir=locks, prefix=".new-") as folder:
        new = Path(folder)
        whole = new / "all.txt"
        if not upgrade:
            whole.write_text("\n".join(_read(locks / name) for name in ("torch-cu117.txt", "dev.txt")))
        _compile(whole, [locks / "dev.in"], upgrade)
        _compile(new / "build.txt", [locks / "build.in"], upgrade, whole)
        _compile(new / "runtime.txt", [locks / "runtime.in"], upgrade, whole)
        everything = blocks(whole.read_text())
        runtime = blocks((new / "runtime.txt").read_text())
        _write(new / "torch-cu117.txt", "torch-cu117.in", everything, (n for n in everything if TORCH_SET.match(n)))
        _write(new / "dev.txt", "dev.in", everything, (n for n in everything if not TORCH_SET.match(n)))
        _write(new / "runtime.txt", "runtime.in", runtime, (n for n in runtime if not TORCH_SET.match(n)))
        _write(new / "build.txt", "build.in", blocks((new / "build.txt").read_text()))
        changed = [name for name in MADE if (new / name).read_text() != _read(locks / name)]
        for name in changed:
            (new / name).replace(locks / name)
    return changed


def compile_arguments(
    output: Path, sources: Iterable[Path], upgrade: bool = False, under: Path | None = None
) -> list[str]:
    """Return the arguments of `uv pip compile` for one file: universal for Python 3.10 and later, with hashes."""
    command = ["pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.10"]
    command += ["--no-header", "--no-annotate", "--output-file", str(output)]
    command += ["--upgrade"] if upgrade else []
    command += ["--constraints", str(under)] if under else []
    return command + [str(source) for source in sources]


def _compile(output: Path, sources: list[Path], upgrade: bool, under: Path | None = None) -> None:
    uv = find_uv(World())
    if uv is None:
        raise HostError(NO_UV)
    done = subprocess.run([uv, *compile_arguments(output, sources, upgrade, under)], capture_output=True, text=True)
    if done.returncode:
        what = " ".join(done.stderr.split()) or f"uv ended with code {done.returncode}"
        raise HostError(
            Problem(what, "correct the pins, or check the network, and repeat `invoke lock`", sources[0].name)
        )


def _write(path: Path, source: str, entries: dict[str, list[str]], names: Iterable[str] | None = None) -> None:
    lines = [f"# Made by `invoke lock` from {source}; do not edit."]
    for name in sorted(entries if names is None else names):
        lines += entries[name]
    path.write_text("\n".join(lines) + "\n")


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""
