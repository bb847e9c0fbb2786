"""The folders that the package reads and writes: shipped recipes and data, and the cache."""

from __future__ import annotations

import os
from pathlib import Path

SHIPPED = Path(__file__).parent / "recipes"


def shipped_or_local(name: str) -> Path:
    """Return the path of a data file: `shipped:NAME` in the package, else relative to the working folder."""
    scheme, _, rest = name.partition(":")
    return SHIPPED / "data" / rest if scheme == "shipped" else Path(name).expanduser()


def cache_folder() -> Path:
    """Return the folder of downloaded models and encoded data: $WORKSPACE_CACHE, else ~/.cache/gpu-workspace."""
    named = os.environ.get("WORKSPACE_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "gpu-workspace"
