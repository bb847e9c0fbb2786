"""Whoever the container runs as, there is a home, a workspace and every cache to write to."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from tests.images.boxes import Boxes
from tests.images.conftest import copy_checkout

CACHES = ("WORKSPACE_CACHE", "HF_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")

# Prints a line for each folder that takes a file; names the user as torch's compiler does.
WRITE = """
import getpass, os, sys, tempfile
getpass.getuser()
folders = ["/workspace", os.path.expanduser("~"), tempfile.gettempdir(), *map(os.environ.get, sys.argv[1:])]
for folder in folders:
    descriptor, path = tempfile.mkstemp(dir=folder)
    os.write(descriptor, b"x")
    print(folder)
"""


@pytest.fixture(scope="module")
def cache(client: DockerClient) -> Iterator[str]:
    """One cache volume that all users of the module share, one after the other."""
    volume = client.volumes.create(f"gpu-workspace-test-{uuid.uuid4().hex[:8]}")
    yield volume.name
    volume.remove(force=True)


@pytest.mark.parametrize(("user", "uid"), [(None, 1000), ("root", 0), ("12345:0", 12345), ("1001:1001", 1001)])
def test_a_user_can_write_everywhere(
    boxes: Boxes, image: str, cache: str, tmp_path: Path, user: str | None, uid: int
) -> None:
    tmp_path.chmod(0o777)
    volumes = {cache: {"bind": "/cache", "mode": "rw"}, str(tmp_path): {"bind": "/workspace", "mode": "rw"}}
    options: dict[str, Any] = {"user": user} if user else {}
    folders = boxes.run(image, "python", "-c", WRITE, *CACHES, volumes=volumes, **options).text.split()
    home = "/root" if user == "root" else "/home/dev"
    names = ["huggingface", "inductor", "triton", "cuda"]
    assert folders == ["/workspace", home, "/tmp", "/cache", *(f"/cache/{name}" for name in names)]
    assert {path.stat().st_uid for path in tmp_path.iterdir()} == {uid}


def test_a_read_only_root_keeps_the_mounted_cache(boxes: Boxes, image: str, cache: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    volumes = {cache: {"bind": "/cache", "mode": "rw"}, str(tmp_path): {"bind": "/workspace", "mode": "rw"}}
    done = boxes.run(image, "python", "-c", WRITE, *CACHES, volumes=volumes, read_only=True, tmpfs={"/tmp": ""})
    folders = done.text.split()
    assert folders[:3] == ["/workspace", "/tmp/home-1000", "/tmp"]
    assert all(folder.startswith("/cache") for folder in folders[3:])


def test_a_read_only_root_with_nothing_mounted_still_works_and_says_so(
    boxes: Boxes, image: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    volumes = {str(tmp_path): {"bind": "/workspace", "mode": "rw"}}
    done = boxes.run(image, "python", "-c", WRITE, *CACHES, volumes=volumes, read_only=True)
    assert done.code == 0, done.err
    assert len(done.out.split()) == 3 + len(CACHES)
    warning, fix, *compiling = done.err.splitlines()
    assert "cannot write to /cache" in warning and fix.startswith("  fix: mount a volume at /cache")
    assert "torch.compile cannot work" in compiling[0], "what is left to write to, /dev/shm, is noexec"


def test_a_cache_that_is_roots_is_worked_around(
    boxes: Boxes, runtime: str, client: DockerClient, tmp_path: Path
) -> None:
    theirs = tmp_path / "cache"
    theirs.mkdir(mode=0o755)
    volumes = {str(theirs): {"bind": "/cache", "mode": "rw"}}
    done = boxes.run(runtime, "sh", "-c", "touch $HF_HOME/x && echo $HF_HOME", user="1001:1001", volumes=volumes)
    assert (done.code, done.out) == (0, "/tmp/cache-1001/huggingface\n")
    assert "user 1001 cannot write to /cache" in done.err


def test_programs_may_be_kept_where_torch_compile_keeps_them(boxes: Boxes, runtime: str) -> None:
    """A tmpfs of Docker's is mounted noexec unless told otherwise; a library in it cannot be loaded."""
    script = "touch $TORCHINDUCTOR_CACHE_DIR/x && echo $TORCHINDUCTOR_CACHE_DIR"
    found = boxes.run(runtime, "sh", "-c", script, tmpfs={"/cache": "mode=1777"})
    assert (found.code, found.out, found.err) == (0, "/tmp/cache-1000/inductor\n", "")
    nowhere = boxes.run(runtime, "sh", "-c", script, read_only=True, tmpfs={"/tmp": "", "/cache": "mode=1777"})
    assert nowhere.code == 0
    assert "warning: torch.compile cannot work" in nowhere.err and "--tmpfs /tmp:exec" in nowhere.err
    assert boxes.run(runtime, "sh", "-c", script).text == "/cache/inductor\n"


def test_the_user_is_a_number(client: DockerClient, image: str) -> None:
    """Kubernetes refuses a name with runAsNonRoot: it cannot tell that it is not root's."""
    assert client.images.get(image).attrs["Config"]["User"] == "1000:1000"


def test_two_users_can_each_create_a_dev_container(boxes: Boxes, dev: str, cache: str, tmp_path: Path) -> None:
    """Also on one cache volume, in which neither may replace a file of the other."""
    for uid in (1001, 1002):
        checkout = copy_checkout(tmp_path / str(uid))
        checkout.chmod(0o777)
        volumes = {cache: {"bind": "/cache", "mode": "rw"}, str(checkout): {"bind": "/workspace", "mode": "rw"}}
        done = boxes.run(dev, "sh", ".devcontainer/post-create.sh", user=f"{uid}:{uid}", volumes=volumes)
        assert (done.code, done.err) == (0, "")
    checkout.chmod(0o755)
    done = boxes.run(dev, "sh", ".devcontainer/post-create.sh", user="1003:1003", volumes=volumes)
    assert done.code == 1
    assert (
        f"error: user 1003 of the dev container cannot write to /workspace, which belongs to user {os.getuid()}"
        in done.err
    )
    assert "fix: " in done.err
