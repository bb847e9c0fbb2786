"""What Docker keeps on its disk after a build: the builder's cache."""

from __future__ import annotations

import json
import re

from app.host.world import World

_UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


def builder_cache(world: World) -> float:
    """Return the size of the builder's cache in GB (1e9 bytes), of all projects; 0 if Docker does not say. Slow."""
    # The slowest question that the workspace asks: Docker adds up every layer.
    for line in world.run(["docker", "system", "df", "--format", "{{json .}}"], timeout=60).out.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return 0
        if isinstance(row, dict) and row.get("Type") == "Build Cache":
            match = re.fullmatch(r"([\d.]+)\s*([KMGT]?B)", str(row.get("Size", "")).upper())
            return float(match[1]) * _UNITS[match[2]] / 1e9 if match else 0
    return 0
