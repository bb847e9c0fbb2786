"""Checks of the installed packages against the lock files.

The installer compared each wheel with the lock's hash and kept no wheel. What stays are the stamp `.workspace-lock`,
with the SHA-256 of the lock files, and each package's RECORD, with size and SHA-256 of every file. So the chain is:
lock files -> stamp -> name and version -> RECORD -> files. `packages` checks its first half, `files` the second.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from app.doctor.context import REINSTALL, DoctorContext
from app.host.backends.lockfiles import blocks, lock_hash
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.variants import DEFAULT_INDEX, TORCH, VARIANTS

# Every file's size is compared; the SHA-256 only of the packages that a run computes with, and only up to a size: the
# files above it are 1.4 GB, four seconds of hashing.
HASHED = ("torch", "numpy")
HASHED_TO = 2_000_000  # bytes
SHOWN = 4  # names in a message


def normalized_name(text: str) -> str:
    """Return a package's name as the package index normalizes it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", text).lower()


def installed_packages(site: Path) -> dict[str, tuple[str, Path]]:
    """Return the version and metadata folder of every package in a site-packages folder, by name."""
    found = {}
    for folder in site.glob("*.dist-info"):
        name, _, version = folder.name.removesuffix(".dist-info").rpartition("-")
        found[normalized_name(name)] = (version, folder)
    return found


def locked_versions(text: str) -> dict[str, str]:
    """Return the versions that a lock file names for this Python and system, by package."""
    from packaging.requirements import Requirement

    wanted: dict[str, str] = {}
    for entries in blocks(text).values():
        for entry in entries:
            requirement = Requirement(re.split(r"\s*\\?\n|\s--hash", entry, maxsplit=1)[0].strip())
            if requirement.marker and not requirement.marker.evaluate():
                continue
            if requirement.url:
                version = unquote(requirement.url.rsplit("/", 1)[1]).split("-")[1]
            else:
                version = str(requirement.specifier).removeprefix("==")
            wanted[normalized_name(requirement.name)] = version
    return wanted


def _variant(context: DoctorContext, have: dict[str, tuple[str, Path]]) -> str:
    """Return the variant by WORKSPACE_VARIANT, else the stamp, else the installed torch; empty if torch is of none."""
    if context.variant:
        return context.variant.name
    if stamp := _stamp(context):
        return str(stamp.get("variant"))
    version = have["torch"][0] if "torch" in have else ""
    number, _, local = version.partition("+")
    # The package index's build is the one for CUDA 11.7, and its version has no suffix.
    return (local or DEFAULT_INDEX) if number == TORCH else ""


def _stamp(context: DoctorContext) -> dict[str, str]:
    """Return what the installer wrote of the lock files; empty if there is no stamp."""
    try:
        stamp = json.loads((context.prefix / ".workspace-lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


@check("packages", needs="the lock files", quick=True, limit=10, source="docker/locks")
def packages(context: DoctorContext) -> Answer:
    """Every locked package is installed in its locked version, and the locks have not changed since."""
    if context.locks is None:
        return skipped("no lock files here")
    have = installed_packages(context.site)
    variant = _variant(context, have)
    if variant not in VARIANTS:
        torch = f"torch {have['torch'][0]}" if "torch" in have else "an environment without torch"
        return warned(f"{torch} is of no variant of the workspace", "`invoke up` makes the locked environment")
    wheels, runtime, dev = (
        locked_versions((context.locks / name).read_text(encoding="utf-8"))
        for name in (f"torch-{variant}.txt", "runtime.txt", "dev.txt")
    )
    needed = {**wheels, **runtime}
    missing = [name for name in needed if name not in have]
    moved = [
        f"{name} {have[name][0]} (locked: {version})"
        for name, version in sorted({**dev, **needed}.items())
        if name in have and have[name][0] != version
    ]
    if missing or moved:
        parts = [f"moved: {_first(moved)}"] if moved else []
        parts += [f"missing: {_first(missing)}"] if missing else []
        return failed("; ".join(parts), REINSTALL)
    stamp = _stamp(context)
    if stamp and stamp.get("lock") not in (
        lock_hash(context.locks, variant, True),
        lock_hash(context.locks, variant, False),
    ):
        return warned("the locks have changed since this environment was made", "`invoke up` makes the new one")
    both = [name for name in dev if name in have and name not in needed]
    own = len(have) - len(needed) - len(both)
    extra = f", {own} that are not in it" if own > 0 else ""
    return passed(f"{len(needed) + len(both)} packages as locked for {variant}{extra}")


def _first(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


@check("files", limit=60, source="https://packaging.python.org/en/latest/specifications/recording-installed-packages/")
def files(context: DoctorContext) -> Answer:
    """Every installed file has the size in its package's RECORD, and the files of torch and numpy the SHA-256."""
    count = hashed = 0
    changed: list[str] = []
    for name, (_, folder) in sorted(installed_packages(context.site).items()):
        for path, size, digest in _record(folder):
            count += 1
            try:
                have = path.stat().st_size
            except OSError:
                changed.append(f"{name}: {path} is gone")
                continue
            if have != size:
                changed.append(f"{name}: {path} has {have} bytes, not {size}")
            elif name in HASHED and size <= HASHED_TO:
                hashed += 1
                if _sha256(path) != digest:
                    changed.append(f"{name}: {path} has another SHA-256")
    if changed:
        return failed(f"{len(changed)} of {count} files differ: {_first(changed)}", REINSTALL)
    return passed(f"{count} files have their size, {hashed} of {' and '.join(HASHED)} their SHA-256")


def _record(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """Yield path, bytes and SHA-256 (in base64) of a package's files.

    Without the files that installers rewrite: scripts in bin/, and bytecode.
    """
    try:
        text = (folder / "RECORD").read_text(encoding="utf-8")
    except OSError:
        return
    for row in csv.reader(text.splitlines()):
        if len(row) != 3 or not row[1].startswith("sha256=") or not row[2]:
            continue
        if not row[0].startswith(("../", "/")) and not row[0].endswith(".pyc"):
            yield folder.parent / row[0], int(row[2]), row[1].removeprefix("sha256=")


def _sha256(path: Path) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
