"""Obstacles that are neither the engine's nor a card's: each function returns the `Problem`, or None."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import Problem
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host

GB = 1e9
WITHOUT_GPU = "or continue without the GPU: add `--gpus none`"


def platform_obstacle(host: Host, cards: Sequence[Gpu]) -> Problem | None:
    """Return the problem if torch 2.0.1 has no build for this system and processor (with CUDA if there are cards)."""
    if host.system == "Windows":
        return Problem(
            "the workspace does not run on Windows itself",
            "run it in WSL 2: `wsl --install`, then the same commands there",
        )
    if cards and not host.x86_linux:
        return Problem(
            f"PyTorch 2.0 has no CUDA build for {host.system} on {host.machine}",
            f"use an x86_64 Linux host, {WITHOUT_GPU}",
        )
    return None


def checkout_obstacle(host: Host) -> Problem | None:
    """Return the problem if the checkout's path cannot be in PATH, which the native environment needs; else None.

    A colon separates the folders of PATH and cannot be escaped. Containers have the checkout at another path.
    """
    if ":" not in host.project or host.system == "Windows":
        return None
    return Problem(
        f"the checkout's path has a colon, at which PATH is split, so its .venv cannot be used: {host.project}",
        "move the checkout to a path without a colon, or use Docker: `--backend docker`",
    )


def ca_obstacle(host: Host) -> Problem | None:
    """Return the problem if a variable names extra certificates that cannot be used, or None."""
    if not host.ca_missing:
        return None
    fix = f"correct or unset {host.ca_from}: it names one file of certificates in PEM form"
    if "PEM" in host.ca_error:
        fix += f"; from DER form: `openssl x509 -inform der -in {host.ca_missing} -out company.pem`"
    return Problem(f"{host.ca_from} names {host.ca_missing}, which {host.ca_error}", fix)


def space_obstacle(folder: str, free: int | None, needed_gb: int, what: str) -> Problem | None:
    """Return the problem if `folder` has fewer than `needed_gb` GB (1e9 bytes) free for `what`.

    `free` is in bytes; None means unknown, and passes.
    """
    if free is None or free >= needed_gb * GB:
        return None
    return Problem(
        f"{what} needs about {needed_gb} GB and {folder} has {free / GB:.1f} GB free",
        "free some space (used by Docker: `docker system df`, then `docker builder prune`)"
        if "Docker" in folder
        else "free some space on that disk",
    )
