"""The plan for each kind of machine; this table is the specification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from app.errors import HostError
from app.host.plan.choose import Plan, Request, choose, space_for
from app.host.probe.machine import detect
from app.host.world import Completed
from tests.host.fake_world import (
    CDI_SPEC,
    DOCKER_DENIED,
    DOCKER_DOWN,
    MISMATCH,
    NVIDIA_RUNTIME,
    Answer,
    FakeWorld,
    docker_info,
    nvidia_smi,
)

PLAIN: Mapping[str, Answer] = {"docker info": docker_info()}
TOOLKIT: Mapping[str, Answer] = {"docker info": docker_info(Runtimes=NVIDIA_RUNTIME, CgroupDriver="cgroupfs")}
PCI = {
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:01:00.0/class": "0x030200\n",
}


def gpus(*names: str, driver: str = "535.104.05") -> dict[str, Answer]:
    return {"nvidia-smi": nvidia_smi(*names, driver=driver)}


@dataclass
class Case:
    commands: Mapping[str, Answer]
    expect: tuple[str, str, str]  # variant, back end, GPU mode
    warns: tuple[str, ...] = ()
    request: Request = field(default_factory=Request)
    files: Mapping[str, str] = field(default_factory=dict)
    machine: str = "x86_64"
    system: str = "Linux"


CASES = {
    "laptop without a GPU": Case(PLAIN, ("cpu", "docker", "none")),
    "no Docker, no GPU": Case({}, ("cpu", "native", "none"), ("Docker is not installed",)),
    "no engine running": Case({"docker info": DOCKER_DOWN}, ("cpu", "native", "none"), ("not running",)),
    "no permission": Case({"docker info": DOCKER_DENIED}, ("cpu", "native", "none"), ("no permission on its socket",)),
    "engine too old": Case(
        {"docker info": docker_info("20.10.5+dfsg1")}, ("cpu", "native", "none"), ("older than 23",)
    ),
    "no buildx": Case(
        {"docker info": docker_info(ClientInfo={"Plugins": [{"Name": "compose", "Version": "2.26.1"}]})},
        ("cpu", "native", "none"),
        ("buildx",),
    ),
    "A100": Case({**TOOLKIT, **gpus("NVIDIA A100-SXM4-80GB")}, ("cu118", "docker", "runtime")),
    "two H100": Case({**TOOLKIT, **gpus(*["NVIDIA H100 80GB HBM3"] * 2)}, ("cu118", "docker", "runtime")),
    "RTX 4090": Case({**TOOLKIT, **gpus("NVIDIA GeForce RTX 4090")}, ("cu118", "docker", "runtime")),
    "toolkit missing": Case(
        {**PLAIN, **gpus("NVIDIA L4")}, ("cu118", "native", "direct"), ("NVIDIA Container Toolkit is not set up",)
    ),
    "snap Docker": Case(
        {"docker info": docker_info(DockerRootDir="/var/snap/docker/common/d"), **gpus("NVIDIA L4")},
        ("cu118", "native", "direct"),
        ("snap",),
    ),
    "no Docker with a GPU": Case(gpus("NVIDIA L4"), ("cu118", "native", "direct"), ("Docker is not installed",)),
    "CDI only": Case(
        {"docker info": docker_info(CDISpecDirs=["/etc/cdi"]), **gpus("NVIDIA L4")},
        ("cu118", "docker", "cdi"),
        files={"/etc/cdi/nvidia.yaml": CDI_SPEC},
    ),
    "both modes, systemd cgroups": Case(
        {"docker info": docker_info(CDISpecDirs=["/etc/cdi"], Runtimes=NVIDIA_RUNTIME), **gpus("NVIDIA L4")},
        ("cu118", "docker", "cdi"),
        files={"/etc/cdi/nvidia.yaml": CDI_SPEC},
    ),
    "both modes, cgroupfs": Case(
        {
            "docker info": docker_info(CDISpecDirs=["/etc/cdi"], Runtimes=NVIDIA_RUNTIME, CgroupDriver="cgroupfs"),
            **gpus("NVIDIA L4"),
        },
        ("cu118", "docker", "runtime"),
        files={"/etc/cdi/nvidia.yaml": CDI_SPEC},
    ),
    "T4 on R450: the image's gate": Case(
        {**TOOLKIT, **gpus("Tesla T4", driver="450.80.02")},
        ("cu118", "docker", "runtime"),
        ("refuses driver 450.80.02",),
    ),
    "T4 on R470: through the gate": Case(
        {**TOOLKIT, **gpus("Tesla T4", driver="470.239.06")}, ("cu118", "docker", "runtime")
    ),
    "an RTX 4090 and an RTX 5090": Case(
        {**TOOLKIT, **gpus("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 5090", driver="580.65.06")},
        ("cu118", "docker", "runtime"),
        ("RTX 5090 (sm_120), has no code in any build of PyTorch 2.0",),
    ),
    "a card without a driver": Case(PLAIN, ("cpu", "docker", "none"), ("no driver",), files=PCI),
    "driver tools on a machine without a card": Case(
        {
            **PLAIN,
            "nvidia-smi": Completed(9, "NVIDIA-SMI has failed because it couldn't communicate with the driver.\n"),
        },
        ("cpu", "docker", "none"),
    ),
    "macOS arm64": Case(PLAIN, ("cpu", "native", "none"), system="Darwin", machine="arm64"),
    "arm64 server": Case(PLAIN, ("cpu", "native", "none"), machine="aarch64"),
    "Blackwell, without it": Case(
        {**TOOLKIT, **gpus("NVIDIA GeForce RTX 5090")}, ("cpu", "docker", "none"), request=Request(gpus="none")
    ),
    "asked: cu117": Case(
        {**TOOLKIT, **gpus("NVIDIA L4")}, ("cu117", "docker", "runtime"), request=Request(variant="cu117")
    ),
    "asked: cpu on a GPU host": Case(
        {**TOOLKIT, **gpus("NVIDIA L4")}, ("cpu", "docker", "none"), request=Request(variant="cpu")
    ),
    "asked: cu117 without a GPU": Case(PLAIN, ("cu117", "docker", "none"), request=Request(variant="cu117")),
    "asked: native although an engine answers": Case(
        PLAIN, ("cpu", "native", "none"), request=Request(backend="native")
    ),
    "asked: docker on arm64": Case(
        PLAIN,
        ("cpu", "docker", "none"),
        ("emulated",),
        Request(backend="docker"),
        system="Darwin",
        machine="arm64",
    ),
}


def plan(case: Case) -> Plan:
    world = FakeWorld(case.commands, case.files, system=case.system, machine=case.machine)
    return choose(detect(world), case.request)


@pytest.mark.parametrize("name", CASES)
def test_the_chosen_plan(name: str) -> None:
    case = CASES[name]
    chosen = plan(case)
    assert (chosen.variant.name, chosen.backend, chosen.gpu_mode) == case.expect
    assert len(chosen.warnings) == len(case.warns), chosen.warnings
    for warning, part in zip(chosen.warnings, case.warns):
        assert part in warning.what
        assert warning.fix


REFUSED = {
    "Blackwell": (Case({**TOOLKIT, **gpus("NVIDIA GeForce RTX 5090")}, ("", "", "")), ["Blackwell needs PyTorch 2.7"]),
    "Hopper on cu117": (
        Case({**TOOLKIT, **gpus("NVIDIA H200")}, ("", "", ""), request=Request(variant="cu117")),
        ["(sm_90), has no code in variant cu117"],
    ),
    "driver too old": (
        Case({**TOOLKIT, **gpus("Tesla T4", driver="440.33.01")}, ("", "", "")),
        ["driver 440.33.01 is too old: CUDA 11 needs 450.80.02"],
    ),
    "driver upgraded under a running kernel": (
        Case({**TOOLKIT, "nvidia-smi": MISMATCH}, ("", "", ""), files=PCI),
        ["old kernel module is still loaded"],
    ),
    "docker asked, not installed": (
        Case({}, ("", "", ""), request=Request(backend="docker")),
        ["Docker is not installed"],
    ),
    "docker asked, GPU without the toolkit": (
        Case({**PLAIN, **gpus("NVIDIA L4")}, ("", "", ""), request=Request(backend="docker")),
        ["NVIDIA Container Toolkit is not set up"],
    ),
    "two things at once": (
        Case(gpus("NVIDIA B200"), ("", "", ""), request=Request(backend="docker")),
        ["Blackwell", "Docker is not installed"],
    ),
    "Windows": (Case({}, ("", "", ""), system="Windows", machine="AMD64"), ["Windows"]),
    "CUDA on arm64": (
        Case(gpus("NVIDIA H200"), ("", "", ""), machine="aarch64"),
        ["no CUDA build for Linux on aarch64"],
    ),
    "a card that is not there": (
        Case({**TOOLKIT, **gpus("NVIDIA L4")}, ("", "", ""), request=Request(gpus="0,3")),
        ["no GPU 3: there are 0"],
    ),
    "an unknown back end": (Case(PLAIN, ("", "", ""), request=Request(backend="podman")), ["no back end 'podman'"]),
    "inside, outside": (
        Case(PLAIN, ("", "", ""), request=Request(backend="inside")),
        ["not the workspace's container"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_a_reason_and_a_fix(name: str) -> None:
    case, sentences = REFUSED[name]
    with pytest.raises(HostError) as caught:
        plan(case)
    assert len(caught.value.problems) == len(sentences)
    for problem, part in zip(caught.value.problems, sentences):
        assert part in problem.what
        assert problem.fix


def test_cards_are_selected_by_index_and_unusable_ones_left_out() -> None:
    two = {**TOOLKIT, **gpus("NVIDIA L4", "NVIDIA L4")}
    assert plan(Case(two, ("", "", ""))).visible is None
    assert plan(Case(two, ("", "", ""), request=Request(gpus="1"))).visible == "1"
    assert plan(Case(two, ("", "", ""), request=Request(gpus="none"))).visible == ""
    assert plan(CASES["an RTX 4090 and an RTX 5090"]).visible == "0"


def test_the_gate_is_skipped_only_if_it_would_refuse() -> None:
    assert plan(CASES["T4 on R450: the image's gate"]).skip_gate
    assert not plan(CASES["T4 on R470: through the gate"]).skip_gate


def test_inside_the_container_there_is_nothing_to_choose() -> None:
    host = detect(FakeWorld(env={"WORKSPACE_INSIDE": "1", "WORKSPACE_VARIANT": "cu117"}))
    chosen = choose(host, Request.of(host.env, None, None, None))
    assert (chosen.variant.name, chosen.backend, chosen.gpu_mode) == ("cu117", "inside", "none")
    with pytest.raises(HostError, match="variant 'cu117', not 'cpu'"):
        choose(host, Request(variant="cpu"))


def test_inside_the_container_cards_are_selected_as_outside() -> None:
    env = {"WORKSPACE_INSIDE": "1", "WORKSPACE_VARIANT": "cu118"}
    host = detect(FakeWorld(gpus("NVIDIA L4", "NVIDIA L4"), env=env))
    one = choose(host, Request(gpus="1"))
    assert ([card.index for card in one.cards], one.visible) == ([1], "1")
    assert choose(host, Request()).visible is None
    none = choose(host, Request(gpus="none"))
    assert (none.gpu_mode, none.visible, none.why_gpus) == ("none", "", "none asked for")
    with pytest.raises(HostError, match="no GPU 3: there are 0, 1"):
        choose(host, Request(gpus="3"))


def test_flags_win_over_the_environment() -> None:
    env = {"WORKSPACE_VARIANT": "cu117", "WORKSPACE_BACKEND": "native"}
    assert Request.of(env, None, None, None) == Request("cu117", "native", "all")
    assert Request.of(env, "cpu", "docker", "0") == Request("cpu", "docker", "0")


def test_a_full_disk_is_a_problem() -> None:
    full = FakeWorld(PLAIN, free={"/var/lib/docker": 3_000_000_000, "/": 900_000_000_000})
    host = detect(full)
    problem = space_for(host, choose(host, Request()))
    assert problem is not None
    assert problem.what == "the cpu image needs about 8 GB and Docker's folder /var/lib/docker has 3.0 GB free"
    assert space_for(host, choose(host, Request(backend="native"))) is None
