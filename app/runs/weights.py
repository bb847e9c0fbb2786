"""The identity of a trained model: one hash over what its weights are, whatever file they are in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import safe_open


def weights_digest(folder: Path) -> str:
    """sha256 over the name, type, shape and bytes of each tensor of the safetensors files in a folder, by name."""
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
