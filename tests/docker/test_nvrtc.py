"""The names that cuDNN opens, for the two ways in which torch's wheels carry NVRTC."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "build" / "check" / "nvrtc"


@pytest.mark.parametrize(
    ("folder", "library", "builtins"),
    [
        ("nvidia/cuda_nvrtc/lib", "libnvrtc.so.11.2", "libnvrtc-builtins.so.11.7"),  # cu117
        ("torch/lib", "libnvrtc-672ee683.so.11.2", "libnvrtc-builtins.so.11.8"),  # cu118
    ],
)
def test_both_names_lead_to_the_wheels_own(tmp_path: Path, folder: str, library: str, builtins: str) -> None:
    site, loader = tmp_path / "site", tmp_path / "loader"
    (site / folder).mkdir(parents=True)
    loader.mkdir()
    for name in (library, builtins):
        (site / folder / name).touch()
    subprocess.run([SCRIPT, site, loader], check=True)
    links = {link.name: str(link.readlink()) for link in loader.iterdir()}
    assert links == {"libnvrtc.so": str(site / folder / library), builtins: str(site / folder / builtins)}


def test_without_cuda_there_is_nothing_to_name(tmp_path: Path) -> None:
    subprocess.run([SCRIPT, tmp_path, tmp_path], check=True)
    assert list(tmp_path.iterdir()) == []
