"""Versions are those that are loaded, and asking for the rest of the hardware does not import torch."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest
import torch

from app.hardware import versions


def test_torch_has_its_cuda_suffix() -> None:
    assert versions.package_versions()["torch"] == torch.__version__


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(package: str) -> str:
        if package == "peft":
            raise metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(metadata, "version", version)
    found = versions.package_versions()
    assert set(found) == {"python", *versions.PACKAGES} - {"peft"}


def test_cuda_libraries_are_described_or_none() -> None:
    assert versions.cuda_version() == torch.version.cuda
    compiled, loaded = versions.cudnn_compiled_version(), versions.cudnn_version()
    assert (compiled is None) == (loaded is None) == (versions.cuda_version() is None)
    assert compiled is None or loaded is None or compiled // 1000 == loaded // 1000


@pytest.mark.parametrize("module", ["cpu", "gpus", "nvml", "peaks", "versions"])
def test_a_module_starts_without_torch(module: str) -> None:
    code = f"import sys, app.hardware.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
