"""The identity of a trained model: one hash over its weights, however they are split into files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open


def weights_digest(folder: Path) -> str:
    """Return the sha256 over name, type, shape and bytes of each tensor in a folder's safetensors files, by name."""
    places = {}
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            places.update(dict.fromkeys(file.keys(), path))
    found = hashlib.sha256()
    for name in sorted(places):
        with safe_open(str(places[name]), framework="pt") as file:
            tensor = file.get_tensor(name)
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
