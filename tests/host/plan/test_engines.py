"""Advice that fits the engine: what starts, restarts and configures it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.errors import Problem
from app.host.plan.engines import engine_obstacle, toolkit_obstacle
from app.host.probe.engine import Engine, NoEngine
from app.host.probe.machine import detect
from app.host.probe.products import product_of
from app.host.world import TIMED_OUT, Completed
from tests.host.fake_world import Answer, FakeWorld, docker_info, nvidia_smi

WSL = {"/proc/version": "Linux version 5.15.153.1-microsoft-standard-WSL2 (root@941d701f84f1)"}
SNAP = {"docker": "/snap/bin/docker"}


def cannot_connect(address: str, context: str = "default") -> Completed:
    said = f"Cannot connect to the Docker daemon at {address}. Is the docker daemon running?"
    return Completed(1, json.dumps({"ServerVersion": "", "ClientInfo": {"Context": context, "Plugins": []}}), said)


def obstacle(answer: Answer, **machine: Any) -> Problem:
    found = engine_obstacle(detect(FakeWorld({"docker info": answer}, **machine)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("address", "machine", "start"),
    [
        ("unix:///var/run/docker.sock", {}, "`sudo systemctl start docker`"),
        ("unix:///var/run/docker.sock", {"programs": SNAP}, "`sudo snap start docker`"),
        ("unix:///var/run/docker.sock", {"system": "Darwin"}, "start Docker Desktop"),
        ("unix:///var/run/docker.sock", {"files": WSL}, "start Docker Desktop with WSL integration"),
        ("unix:///home/ana/.docker/desktop/docker.sock", {}, "start Docker Desktop"),
        ("unix:///Users/ana/.colima/default/docker.sock", {"system": "Darwin"}, "`colima start`"),
        ("unix:///Users/ana/.rd/docker.sock", {"system": "Darwin"}, "start Rancher Desktop"),
        ("unix:///Users/ana/.orbstack/run/docker.sock", {"system": "Darwin"}, "start OrbStack"),
        ("unix:///run/user/1000/docker.sock", {}, "`systemctl --user start docker`"),
    ],
)
def test_how_the_engine_is_started(address: str, machine: Any, start: str) -> None:
    assert start in obstacle(cannot_connect(address), **machine).fix
    named = obstacle(cannot_connect(address), env={"DOCKER_HOST": address}, **machine)
    assert f"DOCKER_HOST={address}" in named.what
    assert "DOCKER_HOST" in named.fix


def test_how_an_engine_that_hangs_is_restarted() -> None:
    hangs = Completed(TIMED_OUT)
    assert "sudo systemctl restart docker" in obstacle(hangs).fix
    assert "restart Docker Desktop" in obstacle(hangs, system="Darwin").fix
    assert "colima restart" in obstacle(hangs, env={"DOCKER_HOST": "unix:///Users/a/.colima/default/docker.sock"}).fix


def test_the_sockets_group_of_snap() -> None:
    denied = Completed(1, '{"ServerErrors": ["permission denied while trying to connect"]}')
    assert "usermod -aG docker" in obstacle(denied).fix
    assert "addgroup --system docker" in obstacle(denied, programs=SNAP).fix


def test_podman_is_told_by_its_socket_and_by_its_storage() -> None:
    socket = "unix:///run/user/1000/podman/podman.sock"
    down = obstacle(cannot_connect(socket), env={"DOCKER_HOST": socket})
    assert "is Podman, not Docker" in down.what
    assert "unset DOCKER_HOST" in down.fix
    storage = obstacle(docker_info("5.2.2", DockerRootDir="/var/lib/containers/storage"))
    assert "is Podman, not Docker" in storage.what
    assert "unset" not in storage.fix


def test_another_machines_engine_is_refused_before_a_build_whatever_it_can_do() -> None:
    said = obstacle(docker_info(), env={"DOCKER_HOST": "tcp://ana:secret@10.0.0.2:2375"})
    assert said.what.startswith("the Docker engine at tcp://10.0.0.2:2375 runs on another machine")
    assert "`unset DOCKER_HOST`" in said.fix
    near = FakeWorld({"docker info": docker_info()}, env={"DOCKER_HOST": "tcp://127.0.0.1:2375"})
    assert engine_obstacle(detect(near)) is None


def plugins(**versions: str) -> str:
    return docker_info(ClientInfo={"Plugins": [{"Name": name, "Version": v} for name, v in versions.items()]})


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"buildx": "v0.9.1", "compose": "v2.26.1"}, "buildx plugin 0.9.1 is older than 0.10"),
        ({"buildx": "v0.10.0", "compose": "v2.4.1"}, "compose plugin 2.4.1 is older than 2.5"),
        ({"buildx": "v0.10.0"}, "without its compose plugin"),
        ({"compose": "2.26.1-4"}, "without its buildx plugin"),
    ],
)
def test_plugins_that_are_missing_or_too_old(versions: dict[str, str], said: str) -> None:
    assert said in obstacle(plugins(**versions)).what


def test_plugins_of_the_oldest_version_and_of_no_number_pass() -> None:
    for buildx in ("v0.10.0", "0.13.1+ds1", "desktop-build"):
        assert engine_obstacle(detect(FakeWorld({"docker info": plugins(buildx=buildx, compose="v2.5.0")}))) is None


@pytest.mark.parametrize(
    "error",
    [
        "failed to fetch metadata: fork/exec /usr/lib/docker/cli-plugins/docker-buildx: no such file or directory",
        "failed to fetch metadata: fork/exec /usr/lib/docker/cli-plugins/docker-buildx: exec format error",
    ],
)
def test_a_broken_plugin_says_what_docker_says_of_it(error: str) -> None:
    broken = {"Name": "buildx", "Path": "/usr/lib/docker/cli-plugins/docker-buildx", "Err": error}
    said = obstacle(docker_info(ClientInfo={"Plugins": [broken, {"Name": "compose", "Version": "v2.26.1"}]}))
    assert said.what == f"Docker's buildx plugin is broken: {error}"
    assert "`rm '/usr/lib/docker/cli-plugins/docker-buildx'`" in said.fix


def test_the_toolkit_is_configured_as_the_engine_needs() -> None:
    def advice(files: dict[str, str] | None = None, **fields: Any) -> Problem | None:
        smi = nvidia_smi("NVIDIA L4", driver="535.104.05")
        host = detect(FakeWorld({"docker info": docker_info(**fields), "nvidia-smi": smi}, files))
        return toolkit_obstacle(host, host.gpus.cards)

    plain, rootless = advice(), advice(SecurityOptions=["name=rootless"])
    assert plain is not None and "`sudo systemctl restart docker`" in plain.fix
    assert rootless is not None and "`systemctl --user restart docker`" in rootless.fix
    in_wsl = advice(WSL)
    assert in_wsl is not None and "sudo service docker restart" in in_wsl.fix
    assert advice(WSL, OperatingSystem="Docker Desktop") is None
    colima = advice(Name="colima")
    assert colima is not None and "Colima runs in a virtual machine" in colima.what


@pytest.mark.parametrize(
    ("fields", "product"),
    [
        ({}, "Docker Engine"),
        ({"Name": "colima-work"}, "Colima"),
        ({"OperatingSystem": "OrbStack"}, "OrbStack"),
        ({"Name": "lima-rancher-desktop"}, "Rancher Desktop"),
        ({"Name": "lima-docker"}, "Lima"),
        ({"DockerRootDir": "/var/snap/docker/common/var-lib-docker"}, "Docker from snap"),
    ],
)
def test_an_engine_that_answers_says_whose_it_is(fields: dict[str, str], product: str) -> None:
    engine = detect(FakeWorld({"docker info": docker_info(**fields)})).engine
    assert isinstance(engine, Engine)
    assert engine.product == product
    assert engine.local == (product in ("Docker Engine", "Docker from snap"))


def test_a_context_says_whose_an_engine_is_that_does_not_answer() -> None:
    assert product_of("", "/usr/bin/docker", "colima") == "Colima"
    assert product_of("", "/usr/bin/docker", "desktop-linux") == "Docker Desktop"
    world = FakeWorld({"docker info": cannot_connect("unix:///x.sock", "rootless"), "docker context inspect": ""})
    engine = detect(world).engine
    assert isinstance(engine, NoEngine)
    assert engine.product == "rootless Docker"
