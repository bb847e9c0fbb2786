"""The pre-flight checks of `invoke doctor` and `invoke up`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.host.backends.native import Environment
from app.host.checks import check as checks
from app.host.checks import engine, gpu, machine
from app.host.checks.context import CheckContext
from app.host.checks.preflight import CHECKS, main
from app.host.plan.choose import Request
from app.host.probe.pythons import PYTHON_BIN
from app.host.world import World
from tests.host.fake_world import NVIDIA_RUNTIME, Answer, FakeWorld, docker_info, nvidia_smi
from tests.host.recorded_hosts import world_of

ROOT = Path(__file__).parents[3]


def ask(check: checks.Check[CheckContext], world: World, **request: str) -> checks.Answer:
    return check.look(CheckContext.of(world, Request(**request)))


def test_the_report_ends_with_the_variant_and_back_end_to_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], world_of("h100")) == 0
    *table, blank, last = capsys.readouterr().out.splitlines()
    assert (blank, len(table)) == ("", len(CHECKS))
    assert last.startswith("use variant cu118 (runs sm_90), back end docker (an engine answers), ")
    assert last.endswith("GPU through cdi (2 x NVIDIA H100 80GB HBM3)")


def test_the_last_line_says_why_the_workspace_cannot_run_and_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], world_of("rtx-5090")) == 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert "no code in any build of PyTorch 2.0" in last
    assert "--gpus none" in last


def test_the_same_host_without_its_gpu_only_warns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--gpus", "none", "--strict"], world_of("rtx-5090")) == 1  # the card is still worth a warning
    assert capsys.readouterr().out.splitlines()[-1].startswith("use variant cpu (no GPU to use), back end docker")


def test_an_impossible_request_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backend", "docker"], world_of("no-docker")) == 2
    out = capsys.readouterr().out
    assert "fail  request" in out
    assert "fail  docker" in out


def test_requests_come_from_the_environment_too(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {"docker info": docker_info()}
    world = FakeWorld(commands, env={"WORKSPACE_BACKEND": "native"}, programs={"uv": "/usr/bin/uv"})
    assert main([], world) == 0
    assert "back end native (asked for)" in capsys.readouterr().out


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"], world_of("mismatch")) == 2
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["kind"], document["verdict"]) == (1, "host", "fail")
    (driver,) = [r for r in document["results"] if r["name"] == "driver"]
    assert driver["fix"].startswith("reboot")


def test_strict_turns_a_warning_into_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], world_of("toolkit-missing")) == 0
    assert main(["--strict"], world_of("toolkit-missing")) == 1
    capsys.readouterr()


def test_driver_versions_under_wsl_are_those_of_windows() -> None:
    wsl = {"/proc/version": "Linux version 5.15.153.1-microsoft-standard-WSL2"}
    smi = nvidia_smi("Tesla T4", driver="460.89")
    answer = ask(gpu.driver_version, FakeWorld({"nvidia-smi": smi}, wsl))
    assert "cu118 by compatibility from 452.39 on (native: 520.06)" in answer.detail
    assert "cu117 by compatibility from 452.39 on (native: 516.31)" in answer.detail


def test_a_port_in_use_by_this_workspace_passes() -> None:
    table = "   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1\n"
    commands = {"docker info": docker_info(), "docker ps": "127.0.0.1:8888->8888/tcp\n"}
    assert ask(machine.ports, FakeWorld(commands, {"/proc/net/tcp": table})).status == "pass"
    other = {**commands, "docker ps": "\n"}
    assert ask(machine.ports, FakeWorld(other, {"/proc/net/tcp6": table})).status == "warn"
    assert ask(machine.ports, FakeWorld(commands)).status == "pass"


def test_the_port_that_a_variable_sets_is_checked() -> None:
    table = "   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1\n"
    world = FakeWorld(files={"/proc/net/tcp": table}, env={"WORKSPACE_NOTEBOOK_PORT": "9000"})
    assert ask(machine.ports, world).detail == "9000, 6006 are free or in use by this workspace"


LISTENING = (
    "   0: {address}:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1\n"
)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("0100007F", "warn"),  # 127.0.0.1
        ("00000000", "warn"),  # every address
        ("00000000000000000000000000000000", "warn"),  # ::, which takes IPv4 too
        ("0000000000000000FFFF00000100007F", "warn"),  # ::ffff:127.0.0.1
        ("0501A8C0", "pass"),  # 192.168.1.5
        ("00000000000000000000000001000000", "pass"),  # ::1
    ],
)
def test_only_the_address_that_will_be_bound_counts(address: str, status: str) -> None:
    world = FakeWorld(files={"/proc/net/tcp": LISTENING.format(address=address, port=8888)})
    assert ask(machine.ports, world).status == status


def test_a_range_is_in_use_if_all_of_it_is() -> None:
    def ports(*taken: int) -> checks.Answer:
        table = "".join(LISTENING.format(address="0100007F", port=port) for port in taken)
        return ask(
            machine.ports, FakeWorld(files={"/proc/net/tcp": table}, env={"WORKSPACE_NOTEBOOK_PORT": "9000-9001"})
        )

    assert ports(9000).detail == "9000-9001, 6006 are free or in use by this workspace"
    assert ports(9000, 9001).detail == "already in use: 9000-9001 (notebook)"


@pytest.mark.parametrize("value", ["abc", "70000", "9010-9000", "127.0.0.1:9000", "-1", "9000-", "٣"])
def test_a_setting_that_is_no_port_is_a_warning_with_its_name(value: str) -> None:
    answer = ask(machine.ports, FakeWorld(env={"WORKSPACE_NOTEBOOK_PORT": value}))
    assert (answer.status, answer.detail) == ("warn", f"WORKSPACE_NOTEBOOK_PORT={value!r} is not a port")


ODD = ("", " ", "0", "-1", "abc", "1:2", "http://[", "ana:secret@", "\n", "ü", "x" * 5000)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "WORKSPACE_NOTEBOOK_PORT",
            "WORKSPACE_TENSORBOARD_PORT",
            "WORKSPACE_CA_BUNDLE",
            "WORKSPACE_SLIM",
            "DOCKER_HOST",
        ),
        *("WORKSPACE_VARIANT", "WORKSPACE_BACKEND", "WORKSPACE_INSIDE", "WORKSPACE_IMAGE", "WORKSPACE_CACHE"),
        *("CUDA_VISIBLE_DEVICES", "COMPOSE_PROJECT_NAME", "HTTPS_PROXY", "no_proxy", "HOME", "LD_LIBRARY_PATH"),
    ],
)
def test_no_setting_breaks_a_check(name: str) -> None:
    """An odd value may fail a check, with a sentence; an exception in a check is a bug."""
    for value in ODD:
        world = world_of("l4")
        world.settings[name] = value
        context = CheckContext.of(world, Request.of(world.env, None, None, None))
        answers = [checks.run_check(check, context) for check in CHECKS]
        assert not [a.detail for a in answers if "the check itself broke" in a.detail], value
        if name in ("HTTPS_PROXY", "no_proxy", "DOCKER_HOST"):  # the addresses that may hold a password
            assert "secret" not in f"{answers} {context.conclusion}", value


def test_ports_are_those_of_the_compose_file() -> None:
    published = re.findall(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}", (ROOT / "compose.yaml").read_text())
    assert [(name, int(port)) for name, port in published] == list(machine.PORTS.values())


def test_a_missing_certificate_bundle_fails_for_a_build_only() -> None:
    env = {"SSL_CERT_FILE": "/gone.pem"}
    answer = ask(machine.certificates, FakeWorld({"docker info": docker_info()}, env=env))
    assert (answer.status, answer.detail) == ("fail", "SSL_CERT_FILE names /gone.pem, which does not exist")
    assert ask(machine.certificates, FakeWorld(env=env)).status == "warn"


def test_a_full_disk_fails_unless_the_image_exists(capsys: pytest.CaptureFixture[str]) -> None:
    full: dict[str, Answer] = {"docker info": docker_info()}
    assert main([], FakeWorld(full, free=3_000_000_000)) == 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("the workspace cannot run here: the cpu image needs about 8 GB")
    assert "docker builder prune" in last
    there: dict[str, Answer] = {**full, "docker image inspect": {"gpu-workspace:cpu-dev": "sha256:0\n"}}
    assert main([], FakeWorld(there, free=3_000_000_000)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("use variant cpu")


def test_uv_is_required_only_if_the_environment_must_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "current", lambda environment: None)
    nothing = ask(machine.uv, FakeWorld())
    assert (nothing.status, nothing.fix) == ("fail", "pip install uv")
    assert ask(machine.uv, FakeWorld(files={f"{PYTHON_BIN}/uv": ""})).detail == f"{PYTHON_BIN}/uv"
    assert ask(machine.uv, FakeWorld({"docker info": docker_info()})).status == "skip"
    monkeypatch.setattr(Environment, "current", lambda environment: "a stamp")
    assert ask(machine.uv, FakeWorld()).status == "skip"


def test_an_unknown_card_is_a_warning() -> None:
    unknown = {"--query-gpu": "0, NVIDIA New Card, GPU-1, 535.104.05, 24000, [N/A]\n"}
    answer = ask(gpu.cards, FakeWorld({"nvidia-smi": unknown, "docker info": docker_info()}))
    assert answer.status == "warn"
    assert "NVIDIA New Card" in answer.detail


def test_an_old_driver_passes_the_gate_through_cdi() -> None:
    spec = {"/etc/cdi/n.yaml": "kind: nvidia.com/gpu\ndevices:\n- name: all\n"}
    commands: dict[str, Answer] = {
        "nvidia-smi": nvidia_smi("Tesla T4", driver="450.248.02"),
        "docker info": docker_info(CDISpecDirs=["/etc/cdi"]),
    }
    answer = ask(gpu.driver_gate, FakeWorld(commands, spec))
    assert answer.status == "pass"
    assert "CDI does not check it" in answer.detail


def test_the_small_memory_of_docker_desktop_is_a_warning() -> None:
    info = docker_info(OperatingSystem="Docker Desktop", MemTotal=4_000_000_000)
    answer = ask(machine.memory, FakeWorld({"docker info": info}, {"/proc/meminfo": "MemTotal: 64000000 kB\n"}))
    assert (answer.status, answer.detail[:6]) == ("warn", "4.0 GB")
    assert "Docker Desktop" in answer.fix


def test_an_engine_on_another_machine_is_a_warning() -> None:
    world = FakeWorld({"docker info": docker_info()}, env={"DOCKER_HOST": "ssh://build@far"})
    assert ask(engine.engine_kind, world).status == "warn"


def test_a_lost_gpu_is_predicted_only_with_systemd_and_without_cdi() -> None:
    smi = nvidia_smi("NVIDIA L4", driver="535.104.05")
    for fields, status in (({"CgroupDriver": "systemd"}, "warn"), ({"CgroupDriver": "cgroupfs"}, "pass")):
        world = FakeWorld({"nvidia-smi": smi, "docker info": docker_info(Runtimes=NVIDIA_RUNTIME, **fields)})
        assert ask(gpu.cgroups, world).status == status


def test_every_check_has_a_description_and_a_source() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for check in CHECKS:
        assert check.about.endswith("."), check.name
        assert check.source, check.name


def test_it_runs_on_a_bare_python_and_quickly() -> None:
    """`invoke` runs it with the host's Python, so it may import no third-party package."""
    code = (
        "import sys, app.host.checks.preflight; "
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'pydantic', 'yaml', 'numpy', 'invoke')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("mounts", "fields", "private", "status"),
    [
        (f"server:/home {ROOT.parent} nfs4 rw,vers=4.2 0 0\n", {}, True, "warn"),
        (f"server:/home {ROOT.parent} nfs4 rw,vers=4.2 0 0\n", {}, False, "pass"),
        (f"server:/home {ROOT.parent} nfs4 rw 0 0\n", {"SecurityOptions": ["name=rootless"]}, True, "pass"),
        (f"server:/x / nfs rw 0 0\n/dev/sda1 {ROOT} ext4 rw 0 0\n", {}, True, "skip"),
        ("server:/x /mnt nfs rw 0 0\n/dev/sda1 / ext4 rw 0 0\n", {}, True, "skip"),
    ],
)
def test_a_private_folder_on_nfs_is_named(mounts: str, fields: dict[str, Any], private: bool, status: str) -> None:
    world = FakeWorld({"docker info": docker_info(**fields)}, {"/proc/mounts": mounts})
    world.private = {str(ROOT)} if private else set()
    answer = ask(engine.network_disk, world)
    assert answer.status == status
    assert status != "warn" or f"chmod o+x {ROOT}" in answer.fix


@pytest.mark.parametrize(
    ("enforce", "label", "status"),
    [
        ("1", "unconfined_u:object_r:user_home_t:s0", "warn"),
        ("1", "unconfined_u:object_r:container_file_t:s0", "pass"),
        ("0", "unconfined_u:object_r:user_home_t:s0", "pass"),
    ],
)
def test_selinux_needs_a_label(enforce: str, label: str, status: str) -> None:
    info = docker_info(SecurityOptions=["name=selinux"])
    world = FakeWorld({"docker info": info, "stat": label}, {"/sys/fs/selinux/enforce": enforce})
    assert ask(engine.selinux, world).status == status
