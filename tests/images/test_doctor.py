"""The doctor in real containers: an image passes as built, and faults of a container are found and named."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.doctor import registry
from tests.images.boxes import Boxes, Finished

SHM = 1 << 30
OFFLINE = {"HF_HUB_OFFLINE": "1"}
# Skipped without a GPU; in the runtime image Jupyter is not installed.
GPU_ONLY = {"driver", "architectures", "GPU memory", "peer access", "NVML"}


def results(done: Finished) -> dict[str, dict[str, Any]]:
    return {r["name"]: r for r in json.loads(done.out)["results"]}


def quick(boxes: Boxes, image: str, *arguments: str, **options: Any) -> dict[str, dict[str, Any]]:
    options = {"shm_size": SHM, **options}
    return results(boxes.run(image, "app", "doctor", "--quick", "--json", *arguments, **options))


@pytest.mark.slow
def test_everything_passes_that_a_machine_without_a_gpu_can_do(boxes: Boxes, image: str) -> None:
    done = boxes.run(image, "app", "doctor", "--json", timeout=280, shm_size=SHM, environment=OFFLINE)
    found = results(done)
    assert list(found) == [c.name for c in (*registry.ISOLATED, *registry.IN_PROCESS)]
    assert {name: r for name, r in found.items() if r["status"] in ("warn", "fail")} == {}
    skipped = {name for name, r in found.items() if r["status"] == "skip"}
    assert skipped == (GPU_ONLY if image.endswith("-dev") else GPU_ONLY | {"Jupyter"})
    assert done.code == 0


def test_quick_says_well_in_an_image_as_built(boxes: Boxes, image: str) -> None:
    done = boxes.run(image, "app", "doctor", "--quick", shm_size=SHM)
    assert (done.code, done.err) == (0, "")
    passes = len(registry.QUICK) - 1  # NVML skips without a GPU
    assert done.out.splitlines()[-1].startswith(f"all is well ({passes} pass, 0 warn, 0 fail, 1 skip)")


def test_dockers_own_shared_memory_and_four_workers(boxes: Boxes, runtime: str) -> None:
    found = quick(boxes, runtime, "--workers", "4", shm_size=64 << 20)["shared memory"]
    assert (found["status"], found["detail"][:25]) == ("fail", "64 MiB free in /dev/shm, ")
    assert "--shm-size" in found["fix"]


def test_a_cache_that_the_user_cannot_write(boxes: Boxes, runtime: str, tmp_path: Path) -> None:
    """Without the entrypoint, which would choose another folder and report it."""
    tmp_path.chmod(0o555)
    volumes = {str(tmp_path): {"bind": "/cache/huggingface", "mode": "ro"}}
    done = boxes.run(runtime, volumes=volumes, entrypoint=["app", "doctor", "--quick", "--json"], shm_size=SHM)
    found = results(done)["caches"]
    assert found["status"] == "fail"
    assert found["detail"].startswith("HF_HOME: /cache/huggingface cannot be written by user 1000: ")


def test_a_torch_that_was_moved_after_the_build(boxes: Boxes, runtime: str) -> None:
    """As `pip install -U` of something leaves it: the metadata of another version."""
    move = (
        "cd /opt/venv/lib/python3.10/site-packages && mv torch-2.0.1.dist-info torch-2.4.0.dist-info"
        " && app doctor --quick --json"
    )
    found = results(boxes.run(runtime, "sh", "-c", move, user="root", shm_size=SHM))["packages"]
    assert (found["status"], found["detail"]) == ("fail", "moved: torch 2.4.0 (locked: 2.0.1)")


def test_a_second_cudnn_on_the_library_path(boxes: Boxes, runtime: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "libcudnn.so.8").touch()
    found = quick(
        boxes,
        runtime,
        volumes={str(tmp_path): {"bind": "/foreign", "mode": "ro"}},
        environment={"LD_LIBRARY_PATH": "/foreign"},
    )["library path"]
    assert found["status"] == "fail"
    assert "/foreign/libcudnn.so.8" in found["detail"]
    assert "/opt/venv/lib/python3.10/site-packages/nvidia/cudnn/lib/libcudnn.so.8" in found["detail"]


def test_an_nvml_that_was_killed(boxes: Boxes, runtime: str, tmp_path: Path) -> None:
    """A container that has lost its GPU: the library is there and answers Unknown Error."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine to make a stand-in for NVML")
    tmp_path.chmod(0o755)
    library = tmp_path / "libnvidia-ml.so.1"
    source = "int nvmlInitWithFlags(unsigned flags) { return 999; }"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=source, text=True, check=True)
    found = quick(
        boxes,
        runtime,
        volumes={str(tmp_path): {"bind": "/usr/local/nvidia/lib", "mode": "ro"}},
    )["NVML"]
    assert (found["status"], found["detail"]) == ("fail", "Failed to initialize NVML: Unknown Error")
    assert "CDI" in found["fix"]


@pytest.mark.slow
def test_numpy_2_over_the_locked_one(boxes: Boxes, runtime: str, tmp_path: Path) -> None:
    uv = shutil.which("uv")
    install = [
        uv or "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--python-version",
        "3.10",
        "--target",
        str(tmp_path),
    ]
    if uv is None or subprocess.run([*install, "numpy==2.0.2"], capture_output=True, timeout=200).returncode:
        pytest.skip("no uv or no package index to get numpy 2 from")
    tmp_path.chmod(0o755)
    done = boxes.run(
        runtime,
        "python",
        "-m",
        "app.doctor.isolated_worker",
        "numpy",
        volumes={str(tmp_path): {"bind": "/newer", "mode": "ro"}},
        environment={"PYTHONPATH": "/newer"},
    )
    answer = json.loads(done.out.splitlines()[-1])
    assert (answer["status"], answer["detail"]) == ("fail", "RuntimeError: Numpy is not available")


def test_explain_inside(boxes: Boxes, runtime: str) -> None:
    done = boxes.run(runtime, "app", "doctor", "explain", "Failed to initialize NVML: Unknown Error")
    assert done.text.startswith("nvml-unknown: ")
