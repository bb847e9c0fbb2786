"""What the layers hold, and what they must not: labels, the shared blobs, no secret and no certificate."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient

from app.host.backends.lockfiles import lock_hash
from tests.images.boxes import Boxes
from tests.images.conftest import MARK, ROOT, VARIANT, invoke

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/]{64})")


def layers(client: DockerClient, image: str) -> list[str]:
    """Content hashes of an image's layers, from the base up."""
    found: list[str] = client.images.get(image).attrs["RootFS"]["Layers"]
    return found


def test_labels_say_what_it_is(client: DockerClient, image: str) -> None:
    labels = client.images.get(image).labels
    target = image.rpartition("-")[2]
    assert labels["gpu-workspace.variant"] == VARIANT
    assert labels["gpu-workspace.lock"] == lock_hash(ROOT / "docker" / "locks", VARIANT, dev=target == "dev")
    assert labels["org.opencontainers.image.title"] == "gpu-workspace"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    # Not what the base image says about itself.
    assert labels["org.opencontainers.image.ref.name"] == f"gpu-workspace:{VARIANT}-{target}"
    assert labels["org.opencontainers.image.version"] == f"2.0.1-{VARIANT}"


def test_the_revision_is_in_the_labels_and_in_the_environment(client: DockerClient, image: str) -> None:
    found = client.images.get(image)
    revision = found.labels["org.opencontainers.image.revision"]
    assert f"WORKSPACE_REVISION={revision}" in found.attrs["Config"]["Env"]


def test_torch_is_a_layer_of_its_own_and_both_images_share_it(client: DockerClient, runtime: str, dev: str) -> None:
    """A new dependency must not move torch's gigabytes, and a registry and a pull carry them once."""
    for image in (runtime, dev):
        steps = client.images.get(image).history()
        sizes = sorted(step["Size"] for step in steps if step["CreatedBy"].startswith("COPY /layer"))
        assert sizes[-1] > 3e9
        assert sizes[-2] < 1.5e9
    # torch, the rest of the lock, the scripts and the package; the base, if one base was given for both
    assert len(set(layers(client, runtime)) & set(layers(client, dev))) >= 4


def test_the_package_is_the_last_layer_and_small(client: DockerClient, image: str) -> None:
    written = [step for step in client.images.get(image).history() if step["Size"]]
    assert written[0]["CreatedBy"].startswith("COPY /layer")
    assert written[0]["Size"] < 20e6


def test_history_names_no_secret(client: DockerClient, image: str, ca_bundle: Path) -> None:
    told = "\n".join(step["CreatedBy"] for step in client.images.get(image).history())
    assert MARK not in told
    assert str(ca_bundle) not in told
    assert "BEGIN CERTIFICATE" not in told
    for name in ("PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY"):
        value = os.environ.get(name)
        assert not value or value not in told


def test_history_names_no_mirror_of_debian(
    client: DockerClient, images: dict[str, str], build_env: dict[str, str]
) -> None:
    """Its address may contain a password. Everything comes from the cache: a mirror serves the same files."""
    before = layers(client, images["runtime"])
    env = {**build_env, "APT_MIRROR": "http://me:planted@mirror.example/debian"}
    done = invoke("build", "--target", "runtime", env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert layers(client, images["runtime"]) == before
    told = "\n".join(step["CreatedBy"] for step in client.images.get(images["runtime"]).history())
    assert "planted" not in told + done.stdout + done.stderr


def test_the_mirror_is_used_and_its_password_not_printed(boxes: Boxes, dev: str, tmp_path: Path) -> None:
    (tmp_path / "apt_mirror").write_text("http://me:pl&nted@127.0.0.1:9/debian")
    volumes = {
        str(ROOT / "docker" / "build" / "os"): {"bind": "/build", "mode": "ro"},
        str(tmp_path): {"bind": "/run/secrets", "mode": "ro"},
    }
    script = "echo no-such-package | /build/apt-install; cat /dev/shm/apt/list /dev/shm/apt/parts/* >/tmp/used;"
    script += "grep -c 'pl&nted@127.0.0.1:9' /tmp/used"
    done = boxes.run(dev, "sh", "-c", script, user="root", volumes=volumes)
    *said, count = done.out.splitlines()
    told = "\n".join([*said, done.err])
    assert int(count) > 0
    assert "127.0.0.1" in told and "nted" not in told


def test_no_layer_holds_the_ca_bundle(client: DockerClient, image: str, ca_bundle: Path, tmp_path: Path) -> None:
    """Every file of every layer, deleted ones too: the mark, and each certificate that Debian does not distribute."""
    folders = list(layer_folders(client, image))
    public = folders[-1] / "etc/ssl/certs/ca-certificates.crt"
    known = set(CERTIFICATE.findall(public.read_text())) if public.exists() else set()
    for folder in folders:
        distributed = folder / "usr/share/ca-certificates"
        known |= {m for file in distributed.rglob("*.crt") for m in CERTIFICATE.findall(file.read_text())}
    private = [line for line in CERTIFICATE.findall(ca_bundle.read_text()) if line not in known]
    patterns = tmp_path / "patterns"
    patterns.write_text("\n".join([MARK, *private]) + "\n")
    # A bundle is text and small; libraries of hundreds of megabytes need not be read for it.
    search = (
        'find "$@" -xdev -type f -size -4M -print0 | xargs -0 -r grep --files-with-matches --fixed-strings --file '
        f"{patterns} || true"
    )
    done = subprocess.run(["sh", "-c", search, "sh", *map(str, folders)], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def layer_folders(client: DockerClient, image: str) -> Iterator[Path]:
    """The layers as the engine keeps them on this machine's disk, the newest first."""
    data = client.images.get(image).attrs["GraphDriver"]["Data"] or {}
    folders = [data.get("UpperDir", ""), *data.get("LowerDir", "").split(":")]
    if not all(folder and os.access(folder, os.R_OK) for folder in folders):
        pytest.skip("reading the engine's layers needs its disk and root")
    yield from map(Path, folders)
