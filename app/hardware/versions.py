"""Versions as loaded: Python, the packages that decide a result, CUDA, cuDNN and NCCL. Imports torch when asked."""

from __future__ import annotations

import importlib
import platform
from importlib import metadata
from typing import Any

# Distributions that decide what a run computes and how fast.
PACKAGES = ("torch", "transformers", "tokenizers", "lightning", "numpy", "safetensors", "peft")


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed `PACKAGES`."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "torch": torch_version()}


def torch_version() -> str:
    """Return torch's version with the CUDA suffix, as in `2.0.1+cu118`; the package metadata leaves it out."""
    import torch

    return str(torch.__version__)


def cuda_version() -> str | None:
    """Return the CUDA version that torch was built with, as in `11.8`; None for a build without CUDA."""
    version = _torch().version.cuda
    return None if version is None else str(version)


def cudnn_version() -> int | None:
    """Return the version of the loaded cuDNN, 8700 for 8.7.0; None if torch has none.

    Raises RuntimeError if the loaded cuDNN is not compatible with the one that torch was compiled against.
    """
    version = importlib.import_module("torch.backends.cudnn").version()
    return None if version is None else int(version)


def cudnn_compiled_version() -> int | None:
    """Return the version of the cuDNN that torch was compiled against, 8700 for 8.7.0; None if torch has none."""
    torch = _torch()
    if not torch.version.cuda or not hasattr(torch._C, "_cudnn"):
        return None
    major, minor, patch = torch._C._cudnn.getCompileVersion()
    # cuDNN 9 packs its version with 10000 for the major number, 8 with 1000 (cudnn_version.h).
    return int(major * (10000 if major >= 9 else 1000) + minor * 100 + patch)


def nccl_version() -> str | None:
    """Return the version of NCCL, as in `2.14.3`; None if torch has none."""
    torch = _torch()
    return ".".join(map(str, torch.cuda.nccl.version())) if hasattr(torch._C, "_nccl_version") else None


def _torch() -> Any:
    """Return torch, untyped: its stubs lack half of what is asked here."""
    return importlib.import_module("torch")
