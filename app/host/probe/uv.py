"""Where uv is: on PATH, or beside the Python that runs invoke, where `pip install invoke uv` puts it."""

from __future__ import annotations

import sys
from pathlib import Path

from app.errors import Problem
from app.host.world import World

BESIDE = str(Path(sys.executable).parent)
NO_UV = Problem("uv, which makes the locks and the native environment, is not installed", "pip install uv")


def find_uv(world: World) -> str | None:
    """Its path; None where it is not installed."""
    beside = f"{BESIDE}/uv"
    return world.which("uv") or (beside if world.exists(beside) else None)
