"""The dev container by the real command line tool: up, exec, and files that belong to the host's user."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from tests.images.conftest import copy_checkout

CLI = "@devcontainers/cli@0.89.0"
HOST_USER = 4321  # neither root nor the image's 1000


@pytest.fixture(scope="module")
def cli() -> Path:
    """The tool, kept between sessions."""
    if shutil.which("npm") is None:
        pytest.skip("npm, which brings the dev container's command line tool, is not installed")
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu-workspace-ci" / "devcontainers-0.89.0"
    )
    tool = cache / "node_modules" / "@devcontainers" / "cli" / "devcontainer.js"
    if not tool.exists():
        install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(cache), CLI]
        done = subprocess.run(install, capture_output=True, text=True, timeout=250, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot install {CLI}: {done.stderr.strip()[-200:]}")
    return tool


@pytest.fixture(scope="module")
def place(cli: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that another user can reach, with a checkout and the tool in it, all theirs."""
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    place = Path("/tmp") / f"devcontainer-{uuid.uuid4().hex[:8]}"
    place.mkdir()
    copy_checkout(place / "checkout")
    shutil.copytree(cli.parents[2], place / "tool")
    # The tool asks for its user's name, and this machine has no such user.
    answer = place / "bin" / "id"
    answer.parent.mkdir()
    answer.write_text('#!/bin/sh\n[ "$*" = "-u -n" ] && echo someone || exec /usr/bin/id "$@"\n')
    answer.chmod(0o755)
    for path in [place, *place.rglob("*")]:
        os.chown(path, HOST_USER, HOST_USER, follow_symlinks=False)
    yield place
    shutil.rmtree(place)


class Devcontainer:
    """`devcontainer ...` as the host's user, on one checkout."""

    def __init__(self, place: Path, env: dict[str, str], groups: list[int]) -> None:
        self.place, self.env, self.groups = place, env, groups

    def run(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        tool = str(self.place / "tool" / "@devcontainers" / "cli" / "devcontainer.js")
        command = ["node", tool, verb, "--workspace-folder", str(self.place / "checkout"), *arguments]
        return subprocess.run(
            command, cwd=self.place, env=self.env, capture_output=True, text=True, timeout=280, check=False,
            user=HOST_USER, group=HOST_USER, extra_groups=self.groups,
        )  # fmt: skip


@pytest.fixture(scope="module")
def devcontainer(
    place: Path, images: dict[str, str], build_env: dict[str, str], client: DockerClient, ca_bundle: Path
) -> Iterator[Devcontainer]:
    socket = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))
    if not socket.is_socket():
        pytest.skip("the engine is not on a local socket that another user could be let in to")
    theirs = place / "ca.pem"
    shutil.copy2(ca_bundle, theirs)
    theirs.chmod(0o644)
    project = f"gpu-workspace-test-{uuid.uuid4().hex[:8]}"
    env = {
        **build_env,
        "HOME": str(place),
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "WORKSPACE_CA_BUNDLE": str(theirs),
        "COMPOSE_PROJECT_NAME": project,
    }
    yield Devcontainer(place, env, [socket.stat().st_gid])
    for box in client.containers.list(all=True, filters={"label": f"com.docker.compose.project={project}"}):
        image = box.image.tags[0] if box.image and box.image.tags else None
        box.remove(force=True, v=True)
        if image and image.startswith("vsc-"):
            with contextlib.suppress(ImageNotFound):
                client.images.remove(image)
    client.networks.prune(filters={"label": f"com.docker.compose.project={project}"})
    for volume in client.volumes.list(filters={"label": f"com.docker.compose.project={project}"}):
        volume.remove(force=True)


@pytest.fixture(scope="module")
def up(devcontainer: Devcontainer) -> Devcontainer:
    done = devcontainer.run("up")
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    assert json.loads(done.stdout.splitlines()[-1])["outcome"] == "success"
    return devcontainer


def test_the_host_chose_a_variant_and_no_gpu_overlay(up: Devcontainer) -> None:
    written = json.loads((up.place / "checkout" / ".devcontainer" / "compose.host.yaml").read_text())
    service = written["services"]["dev"]
    assert service["image"] == "gpu-workspace:cu117-dev"
    assert service["build"]["args"]["VARIANT"] == "cu117"
    assert "extends" not in service


def test_the_shell_is_in_the_environment(up: Devcontainer) -> None:
    script = "id -u; echo $HOME; pwd; python -c 'import torch, app; print(torch.__version__, app.__path__[0])'"
    done = up.run("exec", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(HOST_USER), "/home/dev", "/workspace", "2.0.1+cu117", "/workspace/app"]


def test_files_written_inside_belong_to_the_hosts_user(up: Devcontainer) -> None:
    assert up.run("exec", "touch", "/workspace/written").returncode == 0
    written = (up.place / "checkout" / "written").stat()
    assert (written.st_uid, written.st_gid) == (HOST_USER, HOST_USER)


def test_sudo_and_the_caches_work_for_that_user(up: Devcontainer) -> None:
    done = up.run("exec", "sh", "-c", "sudo id -u && touch ~/x $HF_HOME/x $TRITON_CACHE_DIR/x")
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_the_editor_has_the_schema_of_recipes(up: Devcontainer) -> None:
    done = up.run("exec", "cat", "/home/dev/recipe.schema.json")
    assert "oneOf" in json.loads(done.stdout) or "properties" in json.loads(done.stdout)


def test_up_again_keeps_the_container(up: Devcontainer) -> None:
    first = json.loads(up.run("up").stdout.splitlines()[-1])["containerId"]
    assert json.loads(up.run("up").stdout.splitlines()[-1])["containerId"] == first
