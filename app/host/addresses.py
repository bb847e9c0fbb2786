"""Addresses of engines and proxies: whether one leads to another machine, and how it is shown without its password."""

from __future__ import annotations

import re

_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_NETWORK = re.compile(r"(?:tcp|ssh|https?)://(?:[^/@]*@)?(?P<machine>\[[^]]*\]|[^:/]*)")
_THIS_MACHINE = re.compile(r"|localhost|127\.[\d.]+|0\.0\.0\.0|\[::1\]|\[::\]", re.I)


def without_password(address: str) -> str:
    """Return an address without the user and password that it may contain, whether or not it has a scheme.

    Everything before the last `@` is dropped: a password may contain `/`, `:` and `@` without being escaped.
    """
    scheme = _SCHEME.match(address)
    start = scheme[0] if scheme else ""
    return start + address[len(start) :].rpartition("@")[2]


def is_remote(address: str) -> bool:
    """Return whether an engine's address leads over the network to another machine; empty means the default socket."""
    network = _NETWORK.match(address)
    return network is not None and _THIS_MACHINE.fullmatch(network["machine"]) is None
