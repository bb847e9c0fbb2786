"""The engine, and the images built by `invoke build` once a session: variant cu117, both targets.

The base is WORKSPACE_BASE_IMAGE if it is set (`.ci/standin-base` makes one for machines that can pull none), else
NVIDIA's. Layers of an earlier session are used again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker import DockerClient
from docker.errors import DockerException

from app.host.probe.certificates import CA_VARIABLES
from tests.images.boxes import LABEL, Boxes

ROOT = Path(__file__).resolve().parents[2]
VARIANT = "cu117"
TARGETS = ("runtime", "dev")

# Ends the CA bundle that every build of these tests is given, so that a layer that kept any of it can be told.
MARK = "gpu-workspace: the end of the test's CA bundle"
NO_REGISTRY = re.compile(r"failed to resolve source metadata|failed to do request|no such host", re.I)


@pytest.fixture(scope="session")
def client() -> Iterator[DockerClient]:
    """The engine that DOCKER_HOST or the default socket leads to."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers ({error}); `.ci/run` brings one up on Debian 12")
    yield client
    for box in client.containers.list(all=True, filters={"label": LABEL}):
        box.remove(force=True, v=True)
    client.close()


@pytest.fixture(scope="session")
def boxes(client: DockerClient) -> Boxes:
    return Boxes(client)


@pytest.fixture(scope="session")
def ca_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the host trusts, or nothing, and the mark."""
    given = next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), None)
    bundle = tmp_path_factory.mktemp("ca") / "bundle.pem"
    bundle.write_text((Path(given).read_text() if given else "") + f"\n# {MARK}\n")
    return bundle


@pytest.fixture(scope="session")
def build_env(client: DockerClient, ca_bundle: Path) -> dict[str, str]:
    """The environment of a build: the user's, with the test's CA bundle and variant."""
    return {
        **os.environ,
        "WORKSPACE_CA_BUNDLE": str(ca_bundle),
        "WORKSPACE_VARIANT": VARIANT,
        "WORKSPACE_BACKEND": "docker",
    }


def invoke(
    *arguments: str, env: dict[str, str], root: Path = ROOT, timeout: float = 900
) -> subprocess.CompletedProcess[str]:
    """`invoke ...` in a checkout, as a user types it."""
    command = [sys.executable, "-m", "invoke", *arguments]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="session")
def images(client: DockerClient, build_env: dict[str, str]) -> Iterator[dict[str, str]]:
    """Target to image name."""
    for target in TARGETS:
        done = invoke("build", "--target", target, env=build_env)
        if done.returncode and NO_REGISTRY.search(done.stderr) and "WORKSPACE_BASE_IMAGE" not in os.environ:
            pytest.skip("the base image cannot be pulled here, and WORKSPACE_BASE_IMAGE names no other: see .ci/run")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield {target: f"gpu-workspace:{VARIANT}-{target}" for target in TARGETS}
    # What a rebuild has replaced; layers that are still in use stay.
    client.images.prune(filters={"dangling": True, "label": "gpu-workspace.variant"})


@pytest.fixture(scope="session")
def runtime(images: dict[str, str]) -> str:
    return images["runtime"]


@pytest.fixture(scope="session")
def dev(images: dict[str, str]) -> str:
    return images["dev"]


@pytest.fixture(scope="session", params=TARGETS)
def image(request: pytest.FixtureRequest, images: dict[str, str]) -> str:
    """Each of the two images in turn."""
    return images[request.param]


def copy_checkout(target: Path) -> Path:
    """What a build and the dev container read, copied so that a test can change it."""
    target.mkdir()
    for name in ("app", "docker", ".devcontainer"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "compose.host.yaml"))
    for name in ("pyproject.toml", "LICENSE", "README.md", "compose.yaml", "tasks.py", ".gitignore"):
        shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return copy_checkout(tmp_path / "checkout")
