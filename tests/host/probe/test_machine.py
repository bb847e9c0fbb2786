"""The facts that are detected on recorded machines."""

from __future__ import annotations

import json

import pytest

from app.host.probe.engine import Absence, Engine, NoEngine
from app.host.probe.gpus import capability_of
from app.host.probe.machine import detect
from app.host.world import TIMED_OUT, Completed
from tests.host.fake_world import (
    CDI_SPEC,
    CERTIFICATE,
    DOCKER_DENIED,
    DOCKER_DOWN,
    MISMATCH,
    NVIDIA_RUNTIME,
    Answer,
    FakeWorld,
    docker_info,
    nvidia_smi,
)


def engine_of(world: FakeWorld) -> Engine:
    engine = detect(world).engine
    assert isinstance(engine, Engine)
    return engine


def test_all_facts_of_a_gpu_server() -> None:
    host = detect(
        FakeWorld(
            commands={
                "docker info": docker_info(Runtimes=NVIDIA_RUNTIME),
                "nvidia-smi": nvidia_smi("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", driver="535.104.05"),
            },
            files={
                "/etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\n',
                "/proc/meminfo": "MemTotal:       65856000 kB\nMemFree: 1 kB\n",
                "/proc/version": "Linux version 5.15.0-105-generic (buildd@lcy02) #115-Ubuntu SMP",
                "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat\n",
            },
            env={"https_proxy": "http://proxy:3128", "SECRET_TOKEN": "x"},
            free={"/var/lib/docker": 90, "/": 70},
        )
    )
    assert host.release == "Ubuntu 22.04.4 LTS"
    assert host.memory_bytes == 65856000 * 1024
    assert (host.docker_free, host.project_free) == (90, 70)
    assert [(g.index, g.name, g.capability, g.sm) for g in host.gpus.cards] == [
        (0, "NVIDIA H100 80GB HBM3", (9, 0), "sm_90"),
        (1, "NVIDIA H100 80GB HBM3", (9, 0), "sm_90"),
    ]
    assert host.gpus.driver == host.gpus.kernel_driver == "535.104.05"
    assert host.proxies == {"HTTPS_PROXY": "http://proxy:3128"}
    assert not host.wsl
    assert "SECRET_TOKEN" not in host.env
    assert isinstance(host.engine, Engine)
    assert host.engine.nvidia_runtime
    assert (host.engine.buildx, host.engine.compose) == ("0.13.1+ds1", "2.26.1-4")


def test_the_capability_comes_from_the_name_before_r510() -> None:
    host = detect(FakeWorld({"nvidia-smi": nvidia_smi("Tesla T4", driver="450.80.02")}))
    assert host.gpus.cards[0].capability == (7, 5)
    assert host.gpus.driver == "450.80.02"


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("Tesla K80", (3, 7)),
        ("Tesla P100-PCIE-16GB", (6, 0)),
        ("Tesla P40", (6, 1)),
        ("GeForce GTX 1080 Ti", (6, 1)),
        ("Tesla V100-SXM2-16GB", (7, 0)),
        ("Tesla T4", (7, 5)),
        ("GeForce RTX 2080 Ti", (7, 5)),
        ("NVIDIA A100 80GB PCIe", (8, 0)),
        ("A100-SXM4-40GB", (8, 0)),
        ("NVIDIA A10", (8, 6)),
        ("NVIDIA A10G", (8, 6)),
        ("NVIDIA RTX A6000", (8, 6)),
        ("NVIDIA GeForce RTX 3060", (8, 6)),
        ("NVIDIA L40S", (8, 9)),
        ("NVIDIA L4", (8, 9)),
        ("NVIDIA RTX 6000 Ada Generation", (8, 9)),
        ("NVIDIA H100 PCIe", (9, 0)),
        ("NVIDIA B200", (10, 0)),
        ("NVIDIA GeForce RTX 5090", (12, 0)),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", (12, 0)),
        ("NVIDIA Something Else", None),
    ],
)
def test_capability_by_product_name(name: str, capability: tuple[int, int] | None) -> None:
    assert capability_of(name) == capability


@pytest.mark.parametrize(
    ("answer", "absence", "error"),
    [
        (DOCKER_DOWN, Absence.NOT_RUNNING, "Cannot connect"),
        (DOCKER_DENIED, Absence.NO_PERMISSION, "permission denied"),
        (Completed(TIMED_OUT, err="docker did not answer within 15 s"), Absence.NO_ANSWER, "15 s"),
        (Completed(0, '{"host":{"arch":"amd64"},"store":{"graphDriverName":"overlay"}}'), Absence.NOT_DOCKER, ""),
    ],
)
def test_why_no_engine_answers(answer: Completed, absence: Absence, error: str) -> None:
    engine = detect(FakeWorld({"docker info": answer})).engine
    assert isinstance(engine, NoEngine)
    assert engine.absence is absence
    assert error in engine.error


def test_no_docker_at_all() -> None:
    world = FakeWorld()
    assert detect(world).engine == NoEngine(Absence.NOT_INSTALLED)
    assert world.ran == []


def test_desktop_snap_rootless_and_remote_engines_are_distinguished() -> None:
    desktop = engine_of(FakeWorld({"docker info": docker_info(OperatingSystem="Docker Desktop")}))
    assert desktop.desktop
    assert not desktop.local
    assert engine_of(FakeWorld({"docker info": docker_info(DockerRootDir="/var/snap/docker/common/x")})).snap
    assert engine_of(FakeWorld({"docker info": docker_info(SecurityOptions=["name=rootless"])})).rootless
    remote = FakeWorld({"docker info": docker_info()}, env={"DOCKER_HOST": "tcp://10.0.0.2:2375"})
    assert not engine_of(remote).local
    assert detect(remote).docker_free is None


def test_a_context_of_another_machine_is_not_local() -> None:
    plugins = json.loads(docker_info())["ClientInfo"]
    info = docker_info(ClientInfo={**plugins, "Context": "build-host"})
    address = {"build-host": "ssh://me@build-host\n"}
    far: dict[str, Answer] = {"docker info": info, "docker context inspect": address}
    assert not engine_of(FakeWorld(far)).local
    near: dict[str, Answer] = {**far, "docker context inspect": {"build-host": "unix:///run/user/1000/docker.sock\n"}}
    assert engine_of(FakeWorld(near)).local
    # Docker uses DOCKER_HOST before the context.
    assert engine_of(FakeWorld(far, env={"DOCKER_HOST": "unix:///var/run/docker.sock"})).local


def test_the_default_context_needs_no_further_command() -> None:
    world = FakeWorld({"docker info": docker_info()})
    assert engine_of(world).local
    assert [argv[:2] for argv in world.ran if argv[0] == "docker"] == [["docker", "info"]]


def test_the_root_of_the_containerd_image_store_is_its_own_folder() -> None:
    info = docker_info(DriverStatus=[["driver-type", "io.containerd.snapshotter.v1"]], Driver="overlayfs")
    assert engine_of(FakeWorld({"docker info": info})).root == "/var/lib/containerd"


def test_cdi_devices_from_the_engine_or_from_its_folders() -> None:
    listed = docker_info(
        "28.3.0", DiscoveredDevices=[{"Source": "cdi", "ID": "nvidia.com/gpu=all"}, {"Source": "cdi", "ID": "x.y/z=0"}]
    )
    assert engine_of(FakeWorld({"docker info": listed})).cdi_devices == ("nvidia.com/gpu=all",)

    info = {"docker info": docker_info(CDISpecDirs=["/etc/cdi", "/var/run/cdi"])}
    engine = engine_of(FakeWorld(info, files={"/etc/cdi/nvidia.yaml": CDI_SPEC}))
    assert engine.cdi_devices == ("nvidia.com/gpu=0", "nvidia.com/gpu=all")
    assert engine.cdi_all
    as_json = (
        '{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu",\n "devices": [\n{"name": "all", "containerEdits": {}}]}'
    )
    assert engine_of(FakeWorld(info, files={"/var/run/cdi/gpu.json": as_json})).cdi_all
    assert not engine_of(FakeWorld(info, files={"/etc/cdi/other.yaml": CDI_SPEC.replace("nvidia.com", "x.y")})).cdi_all
    # CDI is switched off: the specs exist, but the engine does not read them.
    assert not engine_of(FakeWorld({"docker info": docker_info()}, files={"/etc/cdi/n.yaml": CDI_SPEC})).cdi_all


def test_why_there_are_no_cards() -> None:
    assert "nvidia-smi is not installed" in detect(FakeWorld()).gpus.reason
    mismatch = detect(FakeWorld({"nvidia-smi": MISMATCH})).gpus
    assert "Driver/library version mismatch" in mismatch.reason
    assert mismatch.cards == ()
    assert "No devices were found" in detect(FakeWorld({"nvidia-smi": "No devices were found\n"})).gpus.reason
    bus = {
        "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
        "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
        "/sys/bus/pci/devices/0000:01:00.1/vendor": "0x10de\n",  # the card's sound device
        "/sys/bus/pci/devices/0000:01:00.1/class": "0x040300\n",
    }
    plugged = detect(FakeWorld(files=bus)).gpus
    assert plugged.pci == ("0000:01:00.0",)
    assert "0000:01:00.0" in plugged.reason


def test_nvidia_smi_of_wsl_is_found_off_path() -> None:
    world = FakeWorld(
        {"nvidia-smi": nvidia_smi("NVIDIA GeForce RTX 4090", driver="528.49")},
        files={
            "/proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2 (oe-user@oe-host)",
            "/usr/lib/wsl/lib/nvidia-smi": "",
        },
    )
    world.which = lambda name: None  # type: ignore[method-assign]
    host = detect(world)
    assert host.wsl
    assert host.gpus.cards[0].name == "NVIDIA GeForce RTX 4090"


def test_the_ca_bundle_is_the_first_variable_that_is_set() -> None:
    files = {"/etc/ca.pem": CERTIFICATE, "/etc/other.pem": CERTIFICATE}
    host = detect(FakeWorld(files=files, env={"SSL_CERT_FILE": "/etc/ca.pem", "PIP_CERT": "/etc/other.pem"}))
    assert (host.ca_bundle, host.ca_from) == ("/etc/ca.pem", "SSL_CERT_FILE")
    gone = detect(FakeWorld(files=files, env={"WORKSPACE_CA_BUNDLE": "/nowhere.pem", "PIP_CERT": "/etc/other.pem"}))
    assert (gone.ca_bundle, gone.ca_missing) == (None, "/nowhere.pem")
