"""Builds that must not succeed, each with the sentence that says why."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient

from tests.images.conftest import VARIANT


def failed(checkout: Path, env: dict[str, str], target: str = "runtime", variant: str = VARIANT) -> str:
    """What a build that must fail says. Not by `invoke build`, which first asks for the disk space of a new image."""
    command = ["docker", "buildx", "build", "--file", "docker/Dockerfile", "--target", target]
    command += ["--build-arg", f"VARIANT={variant}", "--secret", f"id=ca,src={env['WORKSPACE_CA_BUNDLE']}"]
    for argument in ("BASE_IMAGE", "DEV_BASE_IMAGE"):
        command += ["--build-arg", f"{argument}={env.get(f'WORKSPACE_{argument}', '')}"]
    done = subprocess.run(
        [*command, "."], cwd=checkout, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.fixture
def address(client: DockerClient) -> str:
    """Where a container reaches this machine."""
    gateway: str = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    return gateway


@pytest.fixture
def wheel_server(tmp_path: Path, address: str) -> Iterator[tuple[str, str]]:
    """(URL, sha256) of a wheel that brings another torch/version.py, served to the build."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "torch_mover-1.0-py3-none-any.whl"
    info = "torch_mover-1.0.dist-info"
    files = {
        "torch/version.py": "__version__ = '2.1.0'\ncuda = '11.7'\nhip = None\ngit_version = ''\ndebug = False\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: torch-mover\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # a fixed date: the same bytes and hash every time

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{address}:{server.server_port}/{wheel.name}", hashlib.sha256(wheel.read_bytes()).hexdigest()
    server.shutdown()


def test_a_later_install_that_moves_torch_is_refused(
    images: dict[str, str], build_env: dict[str, str], checkout: Path, wheel_server: tuple[str, str]
) -> None:
    url, digest = wheel_server
    locks = checkout / "docker" / "locks"
    mover = f"torch-mover @ {url} \\\n    --hash=sha256:{digest}\n"
    (locks / "dev.txt").write_text((locks / "runtime.txt").read_text() + mover)  # the only tool, so it is quick
    said = failed(checkout, build_env, "dev")
    assert f"error: the installed torch is 2.1.0; variant {VARIANT} promises 2.0.1" in said


def test_a_torch_for_another_cuda_is_refused(images: dict[str, str], build_env: dict[str, str], checkout: Path) -> None:
    """The lock of one variant under the name of another."""
    locks = checkout / "docker" / "locks"
    (locks / "torch-cu118.txt").write_bytes((locks / "torch-cu117.txt").read_bytes())
    said = failed(checkout, build_env, variant="cu118")
    assert "error: torch's CUDA is 11.7; variant cu118 promises 11.8" in said
    assert "error: torch has no code for sm_90, which variant cu118 promises" in said


def test_a_wheel_with_another_hash_is_refused(
    images: dict[str, str], build_env: dict[str, str], checkout: Path
) -> None:
    locks = checkout / "docker" / "locks"
    text = (locks / "build.txt").read_text()
    digests = [line for line in text.splitlines() if "--hash=sha256:" in line]
    for line in digests:
        text = text.replace(line.split("sha256:")[1][:64], "0" * 64)
    (locks / "build.txt").write_text(text)
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in failed(checkout, build_env)


def test_locks_that_disagree_are_refused(images: dict[str, str], build_env: dict[str, str], checkout: Path) -> None:
    """The dev image would otherwise have another version than the job that it was written for."""
    lock = checkout / "docker" / "locks" / "runtime.txt"
    lock.write_text(lock.read_text().replace("numpy==1.26.4", "numpy==1.26.3"))
    said = failed(checkout, build_env)
    assert "error: runtime.txt and dev.txt disagree about numpy" in said
    assert "fix: invoke lock" in said
