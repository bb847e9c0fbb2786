"""Trust a company's certificates in addition to the system's: a company proxy rarely opens every TLS connection.

For the native back end both are written to one file of the checkout, `.cache/ca.pem`, which uv and the commands of the
environment read. docker/build/os/network.sh and docker/entrypoint.sh do the same for builds and containers.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from app.errors import HostError, Problem
from app.host.world import World

# The first one that is set wins, for builds, downloads and the native environment alike.
CA_VARIABLES = ("WORKSPACE_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
# The system's own bundle on Debian, Fedora and openSUSE, and on Alpine and macOS.
SYSTEM = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(
    r"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----.+?-----END (X509 |TRUSTED )?CERTIFICATE-----", re.S
)


@dataclass(frozen=True)
class CaBundle:
    """The extra certificates that `variable` names: an absolute path, and why they cannot be used, else empty.

    All three are empty if no variable is set.
    """

    variable: str = ""
    path: str = ""
    error: str = ""

    @property
    def usable(self) -> str | None:
        """The path, or None if there is none or it cannot be used."""
        return self.path if self.path and not self.error else None


def find_ca_bundle(world: World) -> CaBundle:
    """Return the extra certificates that a build or a download must trust, after opening and parsing them."""
    for name in CA_VARIABLES:
        if named := world.env.get(name):
            path = world.absolute(named)
            return CaBundle(name, path, _error(world, path))
    return CaBundle()


def _error(world: World, path: str) -> str:
    """Return why the file is not a bundle of certificates, as the end of a sentence; empty if it is one."""
    if not world.exists(path):
        return "does not exist"
    if not world.is_file(path):
        return "is a folder, not a file"
    text = world.read(path)
    if text is None:
        return "this user may not read"
    found = [match[0] for match in _CERTIFICATE.finditer(text)]
    if not found:
        return "holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(found))
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: a certificate that is not ASCII
        return "holds a certificate that cannot be parsed"
    return ""


def ca_env(world: World, root: Path) -> dict[str, str]:
    """Return the variables that make uv, Python (SSL_CERT_FILE) and requests trust both; empty if none is needed.

    They name a file that `write_ca_bundle` writes.
    """
    bundle = find_ca_bundle(world).usable
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
    bundle = find_ca_bundle(world).usable
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
