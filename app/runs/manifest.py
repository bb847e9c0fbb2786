"""What a run was made from: versions, revision of the code, recipe, data, hardware. With it a run can be repeated."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from app.config import fingerprint
from app.schema import Recipe

PACKAGES = ("torch", "transformers", "tokenizers", "lightning", "numpy", "safetensors", "peft")


def manifest_of(recipe: Recipe, digests: dict[str, str]) -> dict[str, Any]:
    """The manifest of a run that starts now. `digests`: split to sha256 of its data."""
    return {
        "recipe": recipe.name,
        "recipe_sha256": fingerprint(recipe),
        "data_sha256": digests,
        "seed": recipe.seed,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "code": code_revision(),
        "versions": versions(),
        "hardware": hardware(),
    }


def versions() -> dict[str, str]:
    """Python and the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "torch": torch.__version__}  # with the CUDA suffix, which the metadata leaves out


def hardware() -> dict[str, Any]:
    """Processor and GPUs."""
    gpus: list[Any] = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in gpus],
    }


def code_revision() -> dict[str, Any]:
    """Git revision of the package and whether files were changed since; in an image, the revision it was built from."""
    here = Path(__file__).resolve().parent
    try:
        revision = _git(here, "rev-parse", "HEAD")
        return {"revision": revision, "changed": bool(_git(here, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {"revision": os.environ.get("WORKSPACE_REVISION")}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
