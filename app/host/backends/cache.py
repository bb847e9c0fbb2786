"""Find what this project made in the cache folder of the host, so that `invoke clean --cache` removes nothing else.

WORKSPACE_CACHE may name a folder with other things in it, such as a data disk. Only the names that the package itself
gives are ours; a test compares them with the code that makes them.
"""

from __future__ import annotations

import re
from pathlib import Path

from app.host.world import World

# Paths below the cache folder. A hash is 32 digits long, a model's revision 40; `.NAME.xyz` is left by a crash.
MADE = {
    "models": r"[^/]+/\.?[0-9a-f]{40}(-without-weights)?(\.\w+)?",
    "tokenizers": r"\.?[0-9a-f]{32}(\.\w+)?",
    "encoded": r"\.?[0-9a-f]{32}(\.\w+)?",
    "packed": r"\.?[0-9a-f]{32}(\.\w+)?",
    "images": r"\.?[0-9a-f]{32}(\.\w+)?",
    "hub": r"[^/]+-[0-9a-f]{8}\.jsonl",
    "torchvision": r"MNIST|FashionMNIST|KMNIST|cifar-10-.+|cifar-100-.+",
}


def cached(world: World) -> list[Path]:
    """Return the folders and files to remove: the project's own cache folder, or what it made in WORKSPACE_CACHE."""
    named = world.env.get("WORKSPACE_CACHE")
    if named:
        return made_in(Path(world.absolute(named)))
    home = Path(world.env.get("HOME") or "/") / ".cache" / "gpu-workspace"
    return [home] if home.exists() else []


def made_in(folder: Path) -> list[Path]:
    """Return what this project made in a folder: whole kinds if nothing else is among them. Links are not followed."""
    found: list[Path] = []
    for kind, pattern in MADE.items():
        place = folder / kind
        if place.is_symlink() or not place.is_dir():
            continue
        children = sorted(place.iterdir())
        entries = [grandchild for child in children for grandchild in _below(child)] if kind == "models" else children
        ours = [e for e in entries if not e.is_symlink() and re.fullmatch(pattern, e.relative_to(place).as_posix())]
        found += [place] if ours and len(ours) == len(entries) else ours
    return found


def _below(folder: Path) -> list[Path]:
    """Return what is in a folder; for a file or a link that itself."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else [folder]
