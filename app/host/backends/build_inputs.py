"""The inputs of an image build as one hash, so that `up` knows without building whether the image is current."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.errors import HostError, Problem
from app.host.backends.commands import BuildInputs
from app.host.backends.lockfiles import lock_hash
from app.host.probe.machine import Host
from app.host.variants import Variant
from app.host.world import World

# The project's code is mounted into the dev container, so an edit needs no build.
_MADE_FROM = "docker"
_NOT_BUILD = ("locks",)  # only the lock files of the variant count, through their hash
_OPTIONS = {
    "BASE_IMAGE": "WORKSPACE_BASE_IMAGE",
    "DEV_BASE_IMAGE": "WORKSPACE_DEV_BASE_IMAGE",
    "SLIM": "WORKSPACE_SLIM",
}
_SITES = ("PIP_INDEX_URL", "APT_MIRROR")  # not part of the digest: a mirror serves the same bytes


def build_inputs(
    world: World, host: Host, root: Path, variant: Variant, target: str = "dev", base_image: str = ""
) -> BuildInputs:
    """Return the inputs from the checkout and the environment; `base_image` is the base if the environment names none.

    Raises:
        HostError: the CA bundle that a variable names does not exist.
    """
    if host.ca_missing:
        raise HostError(
            Problem(f"{host.ca_from} names {host.ca_missing}, which is not there", f"correct or unset {host.ca_from}")
        )
    options = {argument: world.env[name] for argument, name in _OPTIONS.items() if world.env.get(name)}
    if base_image:
        options.setdefault("BASE_IMAGE", base_image)
    lock = lock_hash(root / "docker" / "locks", variant.name, dev=target == "dev")
    digest = hashlib.sha256(lock.encode())
    for path in sorted((root / _MADE_FROM).rglob("*")):
        inside = path.relative_to(root / _MADE_FROM)
        if path.is_file() and inside.parts[0] not in _NOT_BUILD and not inside.name.startswith("compose."):
            digest.update(str(inside).encode() + b"\0" + path.read_bytes() + b"\0")
    for name in _OPTIONS:
        digest.update(f"{name}={options.get(name, '')}\0".encode())
    sites = {name: world.env[name] for name in _SITES if world.env.get(name)}
    revision, created, epoch = _commit(world, root)
    return BuildInputs(lock, digest.hexdigest()[:16], revision, created, epoch, options, sites)


def _commit(world: World, root: Path) -> tuple[str, str, str]:
    """Return (revision, RFC 3339 time, seconds since 1970) of the last commit; empty without git or a checkout."""
    answer = world.run(["git", "-C", str(root), "show", "--no-patch", "--format=%H %cI %ct", "HEAD"])
    parts = answer.out.split()
    if not answer.ok or len(parts) != 3:
        return "", "", ""
    dirty = world.run(["git", "-C", str(root), "status", "--porcelain"]).out.strip()
    return parts[0] + ("-dirty" if dirty else ""), parts[1], parts[2]
