"""Trust a company's certificates in addition to the system's: a company proxy rarely opens every TLS connection.

For the native back end both are written to one file of the checkout, `.cache/ca.pem`, which uv and the commands of the
environment read. docker/build/os/network.sh and docker/entrypoint.sh do the same for builds and containers.
"""

from __future__ import annotations

import os
from pathlib import Path

from app.errors import HostError, Problem
from app.host.probe.machine import find_ca_bundle
from app.host.world import World

# The system's own bundle on Debian, Fedora and openSUSE, and on Alpine and macOS.
SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def ca_env(world: World, root: Path) -> dict[str, str]:
    """Return the variables that make uv, Python (SSL_CERT_FILE) and requests trust both; empty if none is needed.

    They name a file that `write_ca_bundle` writes.
    """
    _, bundle, _ = find_ca_bundle(world)
    if bundle is None:
        return {}
    file = bundle if bundle in SYSTEM else str(_joined(root))
    users_own = {"REQUESTS_CA_BUNDLE"} & set(world.env)  # a choice that is not overwritten
    needed = {name: file for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE") if name not in users_own}
    return {name: value for name, value in needed.items() if world.env.get(name) != value}


def write_ca_bundle(world: World, root: Path) -> None:
    """Write the file that `ca_env` names, unless it is up to date.

    Raises:
        HostError: if it cannot be written.
    """
    _, bundle, _ = find_ca_bundle(world)
    file = _joined(root)
    if bundle in (None, *SYSTEM, str(file)):  # str(file): an `invoke` that was started by another `invoke`
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
        fix = f"if {file.parent} belongs to another user: `sudo chown -R $(id -un) {file.parent}`"
        raise HostError(Problem(f"{file} cannot be written: {error.strerror}", fix)) from None


def _joined(root: Path) -> Path:
    return root / ".cache" / "ca.pem"
