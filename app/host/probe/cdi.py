"""The NVIDIA devices that the engine can inject by CDI, from the engine's own list or from its specifications.

The standard library has no YAML parser, so a YAML specification is read by its indentation: only the top-level keys and
the items of `devices` count. JSON is a part of YAML, and `nvidia-ctk` writes both, also on one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from app.host.world import World

CDI_KIND = "nvidia.com/gpu"
_KEY = re.compile(r"""["']?(?P<key>[\w.-]+)["']?\s*:\s*(?P<value>.*)""")


def cdi_devices(world: World, listed: Any, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the NVIDIA devices: as the engine lists them (Docker 28.2 and later), else from the specs in `folders`."""
    if listed:
        names = [str(d.get("ID", "")) for d in listed if d.get("Source", "cdi") == "cdi"]
        return tuple(sorted(n for n in names if n.startswith(CDI_KIND)))
    found: set[str] = set()
    for folder in folders:
        for path in [p for ending in ("yaml", "yml", "json") for p in world.glob(f"{folder}/*.{ending}")]:
            kind, names = read_spec(world.read(path) or "")
            if kind == CDI_KIND:
                found.update(f"{CDI_KIND}={name}" for name in names)
    return tuple(sorted(found))


def read_spec(text: str) -> tuple[str, list[str]]:
    """Return (kind, names of the devices) of a CDI specification in JSON or YAML; empty if it is neither."""
    try:
        spec = json.loads(text)
    except ValueError:
        return _read_yaml(text)
    devices = spec.get("devices") if isinstance(spec, dict) else None
    if not isinstance(devices, list):
        return "", []
    return str(spec.get("kind", "")), [str(d["name"]) for d in devices if isinstance(d, dict) and "name" in d]


def _read_yaml(text: str) -> tuple[str, list[str]]:
    kind, names = "", []
    section = ""
    margin = -1  # the column of the keys of a device
    for line in text.splitlines():
        content = line.lstrip(" ")
        if not content or content.startswith(("#", "---")):
            continue
        column = len(line) - len(content)
        item = re.match(r"-\s+", content)
        if item is None and column == 0:
            key = _KEY.match(content)
            section = key["key"] if key else ""
            kind = _scalar(key["value"]) if key and section == "kind" else kind
            margin = -1
            continue
        if section != "devices":
            continue
        if item is not None and (margin < 0 or column + len(item[0]) == margin):
            column += len(item[0])  # `- name: all`: the first key stands behind the dash
            margin, content = column, content[len(item[0]) :].lstrip("{ ")
        key = _KEY.match(content)
        if key and column == margin and key["key"] == "name":
            names.append(_scalar(key["value"]))
    return kind, names


def _scalar(text: str) -> str:
    """Return a YAML value on one line without its quotes and a comment behind it."""
    quoted = re.match(r"""(["'])(.*?)\1""", text)
    return quoted[2] if quoted else text.split(" #")[0].split(",")[0].strip()
