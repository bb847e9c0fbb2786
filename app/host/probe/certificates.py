"""A company's certificates beside the system's own, never instead: a proxy rarely opens every connection.

Natively the two are joined in a file of the checkout, `.cache/ca.pem`, for uv and for what runs in the environment;
docker/build/os/network.sh and docker/entrypoint.sh do the same for builds and containers.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.errors import HostError, Problem
from app.host.probe.machine import find_ca_bundle
from app.host.world import World

# Where systems keep theirs: Debian, Fedora, openSUSE, and Alpine and macOS.
SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def trusting(world: World, root: Path) -> dict[str, str]:
    """Variables by which uv, Python (SSL_CERT_FILE) and requests trust them; empty where nothing has to be said.

    The file that they name is there after `join`.
    """
    _, bundle, _ = find_ca_bundle(world)
    if bundle is None:
        return {}
    file = bundle if bundle in SYSTEM else str(_joined(root))
    kept = {"REQUESTS_CA_BUNDLE"} & set(world.env)  # the user's own choice
    wanted = {name: file for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if name not in kept}
    return {name: value for name, value in wanted.items() if world.env.get(name) != value}


def join(world: World, root: Path) -> None:
    """Write the file that `trusting` names, where it is not there as it should be.

    Raises:
        HostError: it cannot be written.
    """
    _, bundle, _ = find_ca_bundle(world)
    file = _joined(root)
    if bundle in (None, *SYSTEM, str(file)):  # the last in an `invoke` that another one runs
        return
    system = next(filter(None, map(world.read, SYSTEM)), "")
    text = f"{system}\n{world.read(str(bundle)) or ''}"
    if world.read(str(file)) == text:
        return
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        fix = f"`sudo chown -R $(id -un) {file.parent}` where it is another user's"
        raise HostError(Problem(f"{file} cannot be written: {error.strerror}", fix)) from None


def _joined(root: Path) -> Path:
    return root / ".cache" / "ca.pem"
