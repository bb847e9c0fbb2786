"""Every argv, computed from plans of recorded machines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.host.backends import commands
from app.host.backends.commands import BuildInputs, Command, User
from app.host.plan.choose import Plan, Request, choose
from app.host.probe.machine import Host, detect
from tests.host.fake_world import CDI_SPEC, CERTIFICATE, NVIDIA_RUNTIME, Answer, FakeWorld, docker_info, nvidia_smi

SITES = {"PIP_INDEX_URL": "https://u:pw@mirror.example/simple"}
ME = User(1234, 5678, 65536)
ROOT = Path("/home/me/gpu-workspace")


def planned(
    commands: Mapping[str, Answer],
    env: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    request: Request | None = None,
    machine: str = "x86_64",
) -> tuple[Plan, Host]:
    host = detect(FakeWorld(commands, files, env, machine=machine))
    return choose(host, request or Request()), host


LAPTOP: Mapping[str, Answer] = {"docker info": docker_info()}
GPU: Mapping[str, Answer] = {
    "docker info": docker_info(Runtimes=NVIDIA_RUNTIME, CgroupDriver="cgroupfs"),
    "nvidia-smi": nvidia_smi("NVIDIA L4", "NVIDIA L4", driver="535.104.05"),
}


def test_a_line_is_what_a_user_would_type() -> None:
    command = Command(("sh", "-c", "echo 'a b'"), {"NAME": "x y"}, {"PATH": "/hidden"})
    assert command.line == """NAME='x y' sh -c 'echo '"'"'a b'"'"''"""
    assert shlex.split(command.line) == ["NAME=x y", "sh", "-c", "echo 'a b'"]


def test_build_passes_what_the_dockerfile_takes_and_the_certificates_as_a_secret() -> None:
    env = {"SSL_CERT_FILE": "/etc/ca.pem", "https_proxy": "http://u:pw@proxy:3128", "NO_PROXY": "localhost"}
    plan, host = planned(LAPTOP, env, {"/etc/ca.pem": CERTIFICATE})
    inputs = BuildInputs("l0ck", "d1gest", "abc-dirty", "2024-05-06T07:08:09+00:00", "1714979289", {"SLIM": "1"}, SITES)
    command = commands.build(plan, host, inputs)
    assert command.background == {**SITES, "HTTPS_PROXY": "http://u:pw@proxy:3128", "NO_PROXY": "localhost"}
    assert "pw" not in command.line
    assert command.env == {"SOURCE_DATE_EPOCH": "1714979289"}
    assert command.argv == (
        *("docker", "buildx", "build", "--load", "--file", "docker/Dockerfile", "--target", "dev"),
        *("--tag", "gpu-workspace:cpu-dev", "--label", "gpu-workspace.inputs=d1gest"),
        *("--build-arg", "VARIANT=cpu", "--build-arg", "LOCK_HASH=l0ck", "--build-arg", "REVISION=abc-dirty"),
        *("--build-arg", "CREATED=2024-05-06T07:08:09+00:00", "--build-arg", "SLIM=1"),
        *("--build-arg", "PIP_INDEX_URL", "--build-arg", "HTTPS_PROXY", "--build-arg", "NO_PROXY"),
        *("--secret", "id=ca,src=/etc/ca.pem", "--provenance=false", "."),
    )


def test_a_mirror_of_debian_comes_as_a_secret_since_an_argument_stands_in_the_history() -> None:
    plan, host = planned(LAPTOP)
    command = commands.build(plan, host, BuildInputs("", "", sites={"APT_MIRROR": "http://u:pw@mirror.example/debian"}))
    assert command.argv[-4:-2] == ("--secret", "id=apt_mirror,env=APT_MIRROR")
    assert not [word for word in command.argv if word.startswith("APT_MIRROR")]
    assert command.background == {"APT_MIRROR": "http://u:pw@mirror.example/debian"}


@pytest.mark.parametrize(
    ("engine", "compose", "known"),
    [("26.1.5", "2.26.1-4", True), ("24.0.7", "2.26.1-4", False), ("26.1.5", "2.17.0", False)],
)
def test_health_is_asked_sooner_if_engine_and_compose_know_how(engine: str, compose: str, known: bool) -> None:
    plugins = [{"Name": "buildx", "Version": "0.13.1"}, {"Name": "compose", "Version": compose}]
    plan, host = planned({"docker info": docker_info(engine, ClientInfo={"Plugins": plugins})})
    assert ("docker/compose.start.yaml" in commands.compose_files(plan, host)) is known


def test_a_project_is_a_users_and_a_checkouts() -> None:
    named = commands.project(Path("/home/j.doe/src/GPU workspace"), "j.doe")
    assert named == "gpu-workspace-jdoehomejdoesrcgpuworkspace"
    mine = commands.project(ROOT, "me")
    assert mine not in (commands.project(ROOT, "you"), commands.project(ROOT / "clone", "me"))


def test_questions_to_compose_work_from_any_folder() -> None:
    plan, host = planned(LAPTOP)
    for question in (commands.compose_hash(plan, host, ME, ROOT), commands.compose_ps(plan, host, ME, ROOT)):
        assert question.argv[3] == str(ROOT / "compose.yaml")
        assert question.background["PWD"] == str(ROOT)


def test_build_leaves_out_what_is_not_known() -> None:
    plan, host = planned(LAPTOP)
    command = commands.build(plan, host, BuildInputs("l0ck", "d1gest"), "runtime")
    assert command.env == {}
    assert command.argv[6:] == (
        *("--target", "runtime", "--tag", "gpu-workspace:cpu-runtime", "--label", "gpu-workspace.inputs=d1gest"),
        *("--build-arg", "VARIANT=cpu", "--build-arg", "LOCK_HASH=l0ck", "--provenance=false", "."),
    )


def test_compose_takes_the_overlay_of_the_gpu_mode() -> None:
    env = {"WORKSPACE_UID": "1234", "WORKSPACE_GID": "5678"}
    plan, host = planned(LAPTOP)
    up = commands.compose_up(plan, host, ME, ROOT)
    assert up.argv == (
        *("docker", "compose", "--file", "compose.yaml", "--file", "docker/compose.start.yaml"),
        *("up", "--detach", "--no-build", "--wait", "dev"),
    )
    assert up.env == {"WORKSPACE_VARIANT": "cpu", "WORKSPACE_IMAGE": "gpu-workspace:cpu-dev", **env}

    plan, host = planned(GPU)
    up = commands.compose_up(plan, host, ME, ROOT)
    assert up.argv[2:6] == ("--file", "compose.yaml", "--file", "docker/compose.gpu.yaml")
    assert up.env == {"WORKSPACE_VARIANT": "cu118", "WORKSPACE_IMAGE": "gpu-workspace:cu118-dev", **env}

    cdi = {**GPU, "docker info": docker_info(CDISpecDirs=["/etc/cdi"])}
    plan, host = planned(cdi, files={"/etc/cdi/nvidia.yaml": CDI_SPEC})
    assert commands.compose_up(plan, host, ME, ROOT).argv[4:6] == ("--file", "docker/compose.cdi.yaml")


def test_a_driver_that_the_image_would_refuse_gets_the_switch() -> None:
    old = {**GPU, "nvidia-smi": nvidia_smi("Tesla T4", driver="450.80.02")}
    plan, host = planned(old)
    assert commands.compose_up(plan, host, ME, ROOT).env["NVIDIA_DISABLE_REQUIRE"] == "true"


def test_certificates_come_with_an_overlay_of_their_own() -> None:
    plan, host = planned(GPU, {"PIP_CERT": "/etc/company.pem"}, {"/etc/company.pem": CERTIFICATE})
    up = commands.compose_up(plan, host, ME, ROOT)
    assert up.argv[4:8] == ("--file", "docker/compose.gpu.yaml", "--file", "docker/compose.ca.yaml")
    assert up.env["WORKSPACE_CA_BUNDLE"] == "/etc/company.pem"


def test_nothing_personal_is_part_of_the_container() -> None:
    """Else a second terminal with another token would replace it, and end what runs in it."""
    plan, host = planned(GPU, {"HTTPS_PROXY": "http://u:pw@proxy"})
    assert {"HF_TOKEN", "HTTPS_PROXY", "CUDA_VISIBLE_DEVICES"} <= set(commands.compose_up(plan, host, ME, ROOT).without)
    assert commands.compose_hash(plan, host, ME, ROOT).without == commands.compose_up(plan, host, ME, ROOT).without
    mounts = [commands.Mount("/home/me/x.tsv", "/x.tsv")]
    once = commands.run_once(plan, host, ME, ROOT, ["app"], ["HF_TOKEN", "HTTPS_PROXY"], mounts, "name", terminal=False)
    assert not {"HF_TOKEN", "HTTPS_PROXY"} & set(once.without)
    assert once.background == {"PWD": str(ROOT), "HTTPS_PROXY": "http://u:pw@proxy"} and "pw" not in once.line


def test_a_rootless_engine_is_asked_for_no_more_locked_memory_than_the_user_may_have() -> None:
    rootless = {**GPU, "docker info": docker_info(Runtimes=NVIDIA_RUNTIME, SecurityOptions=["name=rootless"])}
    plan, host = planned(rootless)
    assert commands.compose_up(plan, host, ME, ROOT).env["WORKSPACE_MEMLOCK"] == "65536"


def test_down_keeps_the_caches() -> None:
    plan, host = planned(LAPTOP)
    argv = commands.compose_down(plan, host, ME, ROOT).argv
    assert argv[-3:] == ("--profile", "*", "down")
    assert "--volumes" not in argv


def test_exec_shows_only_the_chosen_cards() -> None:
    plan, host = planned(GPU, request=Request(gpus="1"))
    assert commands.execute(plan, host, "mine-dev-1", ["app", "--help"], ["HF_TOKEN"], terminal=True).argv == (
        *("docker", "exec", "--interactive", "--tty", "--env", "HF_TOKEN"),
        *("--env", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "--env", "CUDA_VISIBLE_DEVICES=1"),
        *("mine-dev-1", "app", "--help"),
    )
    plan, host = planned(GPU)
    assert commands.execute(plan, host, "mine-dev-1", ["true"], [], terminal=False).argv == (
        *("docker", "exec", "--interactive", "mine-dev-1", "true"),
    )


def test_an_image_of_the_users_own_is_taken_as_it_is() -> None:
    plan, host = planned(LAPTOP, {"WORKSPACE_IMAGE": "mirror/team:1"})
    assert commands.compose_up(plan, host, ME, ROOT).env["WORKSPACE_IMAGE"] == "mirror/team:1"
    assert commands.image_name(plan, host, "runtime") == "gpu-workspace:cpu-runtime"


def test_images_are_x86_wherever_they_run() -> None:
    plan, host = planned(LAPTOP, request=Request(backend="docker"), machine="aarch64")
    assert commands.build(plan, host, BuildInputs("", "")).env == {"DOCKER_DEFAULT_PLATFORM": "linux/amd64"}
    assert commands.compose_up(plan, host, ME, ROOT).env["DOCKER_DEFAULT_PLATFORM"] == "linux/amd64"
