"""compose.yaml without invoke: every service comes up, on this machine's address only and not without a token."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container

from app.host.backends.commands import BuildInputs
from app.host.plan.choose import Request, choose
from app.host.probe.machine import detect
from tests.host.fake_world import CDI_SPEC, CERTIFICATE, NVIDIA_RUNTIME, Answer, FakeWorld, docker_info, nvidia_smi
from tests.images.conftest import ROOT
from tests.images.test_layers import layers

TOKEN = "a-token-of-the-test"
PROJECT = f"gpu-workspace-test-{uuid.uuid4().hex[:8]}"

Compose = Callable[..., subprocess.CompletedProcess[str]]


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that are free, no two the same."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(("notebook", "tensorboard"), free_ports(2)))


@pytest.fixture(scope="module")
def compose(images: dict[str, str], build_env: dict[str, str], ports: dict[str, int]) -> Iterator[Compose]:
    """`docker compose` in a project of the test's own."""
    env = {
        **build_env,
        "COMPOSE_PROJECT_NAME": PROJECT,
        "WORKSPACE_UID": str(os.getuid()),
        "WORKSPACE_GID": str(os.getgid()),
        "WORKSPACE_NOTEBOOK_PORT": str(ports["notebook"]),
        "WORKSPACE_TENSORBOARD_PORT": str(ports["tensorboard"]),
        "JUPYTER_TOKEN": TOKEN,
    }

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env={**env, **more}, capture_output=True, text=True, timeout=280, check=False
        )

    yield run
    run("--profile", "*", "down", "--volumes", "--timeout", "2")


@pytest.fixture(scope="module")
def services(compose: Compose, client: DockerClient) -> dict[str, Container]:
    """All services of the default profile, up and healthy."""
    up = ("up", "--detach", "--no-build", "--wait")
    done = compose(*up)
    if "file exists" in done.stderr:  # the engine fills a new volume once for each container, and two may collide
        done = compose(*up)
    assert done.returncode == 0, done.stderr
    found = client.containers.list(filters={"label": f"com.docker.compose.project={PROJECT}"})
    return {box.labels["com.docker.compose.service"]: box for box in found}


def status(port: int, path: str) -> int:
    """HTTP status of a request to this machine's own address."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_compose_alone_builds_what_invoke_builds(compose: Compose, dev: str, client: DockerClient) -> None:
    """The same arguments, so everything comes from the cache; only the labels of `invoke build` are missing."""
    name = f"{PROJECT}:dev"
    done = compose("build", "dev", WORKSPACE_IMAGE=name)
    assert done.returncode == 0, done.stderr
    assert layers(client, name) == layers(client, dev)
    client.images.remove(name)
    assert "CACHED" in done.stdout + done.stderr
    assert "Prepared" not in done.stdout + done.stderr  # uv's word when it has downloaded something


def test_every_default_service_comes_up_healthy(services: dict[str, Container]) -> None:
    assert set(services) == {"dev", "notebook", "tensorboard"}
    assert {box.health for box in services.values()} == {"healthy"}


def test_ports_are_this_machines_only(services: dict[str, Container]) -> None:
    for name in ("notebook", "tensorboard"):
        bindings = [b for given in services[name].attrs["HostConfig"]["PortBindings"].values() for b in given]
        assert bindings
        assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
    assert not services["dev"].attrs["HostConfig"]["PortBindings"]


def test_the_notebook_asks_for_its_token(services: dict[str, Container], ports: dict[str, int]) -> None:
    assert status(ports["notebook"], "/api/contents") == 403
    assert status(ports["notebook"], f"/api/contents?token={TOKEN}") == 200


def test_tensorboard_answers(services: dict[str, Container], ports: dict[str, int]) -> None:
    assert status(ports["tensorboard"], "/data/runs") == 200


def test_limits_are_those_that_training_needs(services: dict[str, Container]) -> None:
    for box in services.values():
        host = box.attrs["HostConfig"]
        assert host["ShmSize"] == 8 * 2**30
        assert host["Init"] is True
        assert {"Name": "stack", "Hard": 67108864, "Soft": 67108864} in host["Ulimits"]


def test_only_the_shell_may_become_root(services: dict[str, Container]) -> None:
    may = {name for name, box in services.items() if not box.attrs["HostConfig"]["SecurityOpt"]}
    assert may == {"dev"}


def test_services_that_open_a_port_can_do_nothing_else(services: dict[str, Container]) -> None:
    for name in ("notebook", "tensorboard"):
        host = services[name].attrs["HostConfig"]
        assert (host["CapDrop"], host["ReadonlyRootfs"], host["PidsLimit"]) == (["ALL"], True, 4096)
        code, said = services[name].exec_run(["sh", "-c", "cat /proc/1/status | grep CapEff; touch /opt/x"])
        assert code != 0 and b"0000000000000000" in said and b"Read-only file system" in said


def test_the_checkout_and_the_cache_are_mounted(services: dict[str, Container]) -> None:
    script = "ls compose.yaml && touch /cache/huggingface/x && id -u && python -c 'import app; print(app.__path__[0])'"
    code, output = services["dev"].exec_run(["sh", "-c", script])
    assert code == 0
    assert isinstance(output, bytes)
    assert output.decode().split() == ["compose.yaml", str(os.getuid()), "/workspace/app"]


def test_a_training_node_rendezvouses_and_trains(compose: Compose, images: dict[str, str]) -> None:
    """torchrun in the runtime image, with one node and one process."""
    job = "hello-linear trainer.max_epochs=2 --runs /tmp/runs"
    done = compose(
        "run", "--rm", "--no-deps", "trainer", TRAINER_JOB=job, TRAINER_MASTER=f"127.0.0.1:{free_ports(1)[0]}"
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "closed_form_gap" in done.stdout


@pytest.mark.parametrize(
    ("overlay", "request_"),
    [
        ("gpu", {"driver": "nvidia", "device_ids": ["all"], "capabilities": ["gpu"]}),
        ("cdi", {"driver": "cdi", "device_ids": ["nvidia.com/gpu=all"], "capabilities": ["gpu"]}),
    ],
)
def test_an_overlay_adds_the_cards_and_nothing_else(compose: Compose, overlay: str, request_: dict[str, Any]) -> None:
    def service(*files: str) -> dict[str, Any]:
        done = compose(*files, "config", "--format", "json", WORKSPACE_MEMLOCK="-1")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)["services"]["dev"]
        return found

    plain = service()
    with_cards = service("-f", "compose.yaml", "-f", f"docker/compose.{overlay}.yaml")
    assert with_cards.pop("deploy")["resources"]["reservations"]["devices"] == [request_]
    assert with_cards["ulimits"].pop("memlock") == -1
    with_cards["environment"].pop("NVIDIA_DISABLE_REQUIRE", None)
    plain.pop("deploy", None)
    assert with_cards == plain


@pytest.mark.parametrize("cdi", [False, True])
def test_a_dev_container_gets_the_cards_too(compose: Compose, tmp_path: Path, cdi: bool) -> None:
    """What .devcontainer/initialize.py writes for a host with a card, as compose understands it."""
    spec = importlib.util.spec_from_file_location("initialize", ROOT / ".devcontainer" / "initialize.py")
    assert spec is not None and spec.loader is not None
    initialize = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(initialize)
    engine = docker_info(CDISpecDirs=["/etc/cdi"]) if cdi else docker_info(Runtimes=NVIDIA_RUNTIME)
    answers: dict[str, Answer] = {"docker info": engine, "nvidia-smi": nvidia_smi("NVIDIA L4", driver="535.104.05")}
    host = detect(
        FakeWorld(answers, {"/etc/cdi/nvidia.yaml": CDI_SPEC, "/ca.pem": CERTIFICATE}, {"PIP_CERT": "/ca.pem"})
    )
    written = initialize.overlay(choose(host, Request()), host, BuildInputs("l0ck", "d1gest"), uid=1000)
    (tmp_path / "host.yaml").write_text(json.dumps(written))
    files = ("-f", "compose.yaml", "-f", str(tmp_path / "host.yaml"))
    done = compose(*files, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    service = json.loads(done.stdout)["services"]["dev"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == ("cdi" if cdi else "nvidia")
    assert service["image"] == "gpu-workspace:cu118-dev" and service["secrets"][0]["source"] == "ca"
    assert {mount["target"] for mount in service["volumes"]} == {"/workspace", "/cache"}


def test_a_companys_certificates_are_trusted_beside_the_systems(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "company.pem").write_text("the company's own\n")
    files = ("-f", "compose.yaml", "-f", "docker/compose.ca.yaml")
    script = 'grep -c BEGIN "$SSL_CERT_FILE"; tail -n 1 "$REQUESTS_CA_BUNDLE"'
    run = ("run", "--rm", "--no-deps", "--no-TTY", "dev", "sh", "-c", script)
    done = compose(*files, *run, WORKSPACE_CA_BUNDLE=str(tmp_path / "company.pem"))
    assert done.returncode == 0, done.stderr
    roots, last = done.stdout.splitlines()
    assert int(roots) > 50 and last == "the company's own"


def test_the_engine_without_a_toolkit_says_what_users_report(client: DockerClient, compose: Compose) -> None:
    """The sentence that app.host explains is the one that an engine really gives."""
    if "nvidia" in client.info()["Runtimes"]:
        pytest.skip("this engine has the NVIDIA runtime")
    done = compose("-f", "compose.yaml", "-f", "docker/compose.gpu.yaml", "up", "--detach", "--no-build", "dev")
    compose("rm", "--force", "--stop", "dev")
    assert done.returncode != 0
    assert 'could not select device driver "nvidia" with capabilities: [[gpu]]' in done.stderr
