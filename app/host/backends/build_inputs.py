"""Hash what an image is built from, so that `up` knows without a build whether the image is current."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.errors import HostError
from app.host.backends.commands import BuildInputs
from app.host.backends.lockfiles import lock_hash
from app.host.plan.obstacles import ca_obstacle
from app.host.probe.machine import Host
from app.host.variants import Variant, slim
from app.host.world import World

# Without the code in app/: the dev container mounts it, so an edit needs no build.
_MADE_FROM = "docker"
_NOT_BUILD = ("locks",)  # only the variant's own locks count, through the lock hash
_OPTIONS = {
    "BASE_IMAGE": "WORKSPACE_BASE_IMAGE",
    "DEV_BASE_IMAGE": "WORKSPACE_DEV_BASE_IMAGE",
    "SLIM": "WORKSPACE_SLIM",
}
_SITES = ("PIP_INDEX_URL", "APT_MIRROR")  # not in the digest: a mirror serves the same files


def build_inputs(
    world: World, host: Host, root: Path, variant: Variant, target: str = "dev", base_image: str = ""
) -> BuildInputs:
    """Return the build inputs of the checkout and the environment; WORKSPACE_BASE_IMAGE overrides `base_image`.

    Raises HostError if a variable names a CA bundle that cannot be used.
    """
    if problem := ca_obstacle(host):
        raise HostError(problem)
    settings = {**world.env, "WORKSPACE_SLIM": "1" if slim(world.env) else ""}  # the Dockerfile takes any text for yes
    options = {argument: settings[name] for argument, name in _OPTIONS.items() if settings.get(name)}
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
