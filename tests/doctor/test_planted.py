"""Faults planted into this environment, in a separate process, are found and named.

Tests that must import torch are slow. The container's own faults (64 MB of shared memory, a read-only cache, a user
without rights) are in tests/images/test_doctor.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.doctor.context import DoctorContext
from app.doctor.isolated import run_isolated
from app.doctor.registry import ISOLATED
from app.host.checks.check import Result
from app.host.probe.machine import ROOT

SITE = DoctorContext().site
CUDNN = SITE / "nvidia" / "cudnn" / "lib" / "libcudnn.so.8"
needs_cudnn = pytest.mark.skipif(not CUDNN.exists(), reason="this environment's torch brings no cuDNN")


def quick(*options: str, **env: str) -> dict[str, dict[str, Any]]:
    """Return the results of `app doctor --quick --json` by name."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", "doctor", "--quick", "--json", *options],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return {r["name"]: r for r in json.loads(done.stdout)["results"]}


def isolated(*names: str) -> dict[str, Result]:
    """Return the results of these checks, run in a process with this one's environment variables."""
    return {r.name: r for r in run_isolated([c for c in ISOLATED if c.name in names])}


def compile_library(path: Path, source: str) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)], input=source, text=True, check=True)


@needs_cudnn
def test_a_second_cudnn_on_the_library_path(tmp_path: Path) -> None:
    (tmp_path / "libcudnn.so.8.6.0").touch()
    found = quick(LD_LIBRARY_PATH=str(tmp_path))["library path"]
    assert found["status"] == "fail"
    assert f"{tmp_path}/libcudnn.so.8.6.0" in found["detail"]
    assert str(CUDNN) in found["detail"]


@pytest.mark.parametrize(("code", "text"), [(999, "Unknown Error"), (18, "Driver/library version mismatch")])
def test_an_nvml_that_does_not_answer(code: int, text: str, tmp_path: Path) -> None:
    compile_library(tmp_path / "libnvidia-ml.so.1", f"int nvmlInitWithFlags(unsigned flags) {{ return {code}; }}")
    found = quick(LD_LIBRARY_PATH=str(tmp_path))["NVML"]
    assert (found["status"], found["detail"]) == ("fail", f"Failed to initialize NVML: {text}")


def test_an_nvml_that_answers(tmp_path: Path) -> None:
    source = """
    #include <string.h>
    int nvmlInitWithFlags(unsigned flags) { return 0; }
    int nvmlShutdown(void) { return 0; }
    int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "535.104.05", length); return 0; }
    int nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return 0; }
    """
    compile_library(tmp_path / "libnvidia-ml.so.1", source)
    found = quick(LD_LIBRARY_PATH=str(tmp_path))["NVML"]
    assert (found["status"], found["detail"]) == ("pass", "driver 535.104.05, 3 cards")


def test_a_cache_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = quick(TRITON_CACHE_DIR=str(tmp_path / "file"))["caches"]
    assert (found["status"], str(tmp_path / "file") in found["detail"]) == ("fail", True)


def test_more_workers_than_shared_memory() -> None:
    found = quick("--workers", "1000000")["shared memory"]
    assert (found["status"], "1000000 workers want" in found["detail"]) == ("fail", True)


def test_a_torch_before_the_locked_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    namespace = "types.SimpleNamespace"
    (package / "__init__.py").write_text(
        f"import types\n__version__ = '2.4.0'\nversion = {namespace}(cuda=None)\n_C = {namespace}()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = isolated("PyTorch")["PyTorch"]
    assert found.status == "fail"
    assert f"2.4.0 from {package / '__init__.py'}, not from {SITE}" in found.detail
    assert "PYTHONPATH" in found.fix


@pytest.mark.slow
@needs_cudnn
def test_a_second_cudnn_that_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preloaded, as another package would do: torch then computes with it, or with parts of both."""
    copy = tmp_path / "libcudnn.so.8"
    shutil.copy(CUDNN, copy)
    monkeypatch.setenv("LD_PRELOAD", str(copy))
    found = isolated("loaded libraries")["loaded libraries"]
    assert found.status == "fail"
    assert str(copy) in found.detail
    assert str(CUDNN.parent) in found.detail


@pytest.mark.slow
def test_numpy_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy 2 in front of the locked one, as `pip install -U` of something else leaves it."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("no uv to install numpy 2 with")
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), "numpy==2.0.2"]
    if subprocess.run(install, capture_output=True, timeout=200).returncode:
        pytest.skip("the package index does not answer")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = isolated("numpy")["numpy"]
    assert (found.status, found.detail) == ("fail", "RuntimeError: Numpy is not available")
    assert "numpy<2" in found.fix
