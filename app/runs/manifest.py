"""The manifest of a run: recipe, data, seed, command, revision of the code, versions and hardware."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from app.config import fingerprint
from app.hardware.cpu import cpu_name, usable_cores
from app.hardware.gpus import gpus
from app.hardware.versions import package_versions
from app.models.fetch import model_folder, weights_sha256
from app.schema import Recipe


def manifest_of(recipe: Recipe, digests: dict[str, str]) -> dict[str, Any]:
    """Return the manifest of a run that starts now. `digests`: the SHA-256 of the data of each split, by split."""
    return {
        "recipe": recipe.name,
        "recipe_sha256": fingerprint(recipe),
        "data_sha256": digests,
        "base_sha256": base_digest(recipe),
        "seed": recipe.seed,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "code": code_revision(),
        "versions": package_versions(),
        "hardware": hardware(),
    }


def base_digest(recipe: Recipe) -> str | None:
    """Return the SHA-256 of the weights that a training starts from; None if they are random. Raises ModelError."""
    name, pretrained = (getattr(recipe.model, key, None) for key in ("name", "pretrained"))
    if not (name and pretrained):
        return None
    return weights_sha256(model_folder(name, getattr(recipe.model, "revision", None)))


def hardware() -> dict[str, Any]:
    """Return the processor, its usable cores, torch's threads, and the GPUs with their memory in GiB."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.memory / 2**30, 1)} for gpu in gpus()],
    }


def code_revision() -> dict[str, Any]:
    """Return the package's git revision and whether tracked files differ from it.

    Outside a git checkout, as in an image: the revision that the image was built from.
    """
    here = Path(__file__).resolve().parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        return {"revision": revision, "changed": bool(_git(here, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"revision": os.environ.get("WORKSPACE_REVISION")}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
