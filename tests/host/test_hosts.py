"""The verdict on each recorded machine: this table is the specification of `invoke doctor`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.commands import Command
from app.host.checks.check import verdict
from app.host.checks.context import CheckContext
from app.host.checks.preflight import conclusion, examine
from app.host.plan.choose import Request
from app.host.workspace import open_workspace
from tests.host.recorded_hosts import names, world_of
from tests.host.recording import RecordingRunner

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Expect:
    """`plan` is (variant, back end, GPU mode, number of cards), or a part of the reason why there is none.

    `finds` maps a check's name to a part of its result, `fixes` to a part of its fix.
    """

    verdict: str
    plan: tuple[str, str, str, int] | str
    finds: dict[str, str]
    fixes: dict[str, str] = field(default_factory=dict)


TABLE = {
    # data-center cards
    "a100": Expect(
        "warn", ("cu118", "docker", "runtime", 8), {"cgroups": "warn: systemd driver", "cards": "pass: 8 x"}
    ),
    "h100": Expect("pass", ("cu118", "docker", "cdi", 2), {"cards": "sm_90): cu118 runs sm_90", "cgroups": "CDI"}),
    "h200": Expect("pass", ("cu118", "docker", "runtime", 1), {"cards": "sm_90): cu118 runs sm_90"}),
    "l4": Expect("pass", ("cu118", "docker", "runtime", 1), {"cards": "cu118 runs sm_86, cu117 runs sm_86"}),
    "v100-r535": Expect("pass", ("cu118", "docker", "runtime", 4), {"cards": "keep the driver at branch 580"}),
    "k80": Expect("pass", ("cu118", "docker", "runtime", 2), {"cards": "2 x Tesla K80 (sm_37): cu118 runs sm_37"}),
    # desktop cards
    "rtx-4090": Expect("pass", ("cu118", "docker", "runtime", 1), {"driver-version": "cu118 native, cu117 native"}),
    "rtx-5090": Expect("fail", "Blackwell needs PyTorch 2.7 or later", {"cards": "fail: GPU 0"}),
    "mixed-usable": Expect("pass", ("cu118", "docker", "runtime", 2), {"cards": "sm_61): cu118 runs sm_60"}),
    "mixed-blackwell": Expect(
        "warn", ("cu118", "docker", "runtime", 1), {"cards": "warn: GPU 1, NVIDIA GeForce RTX 5090"}
    ),
    # drivers
    "t4-r450": Expect("warn", ("cu118", "docker", "runtime", 1), {"driver-gate": "warn: the cu118 image refuses"}),
    "a10g-r510": Expect("warn", ("cu118", "docker", "runtime", 1), {"driver-gate": "warn: the cu118 image refuses"}),
    "a6000-r515": Expect(
        "warn", ("cu118", "docker", "runtime", 1), {"driver-version": "cu117 native", "driver-gate": "515"}
    ),
    "t4-r470": Expect(
        "pass", ("cu118", "docker", "runtime", 1), {"driver-gate": "accepts driver 470", "driver-version": "compat"}
    ),
    "t4-r418": Expect("fail", "418.226.00 is too old", {"driver-version": "fail: NVIDIA driver 418"}),
    "mismatch": Expect("fail", "old kernel module is still loaded", {"driver": "fail: the NVIDIA driver was upgraded"}),
    "module-newer": Expect("warn", ("cu118", "docker", "runtime", 1), {"driver": "warn: the libraries are 535.183.01"}),
    "no-driver": Expect("warn", ("cpu", "docker", "none", 0), {"driver": "warn: an NVIDIA card is on the PCI bus"}),
    "driver-dead": Expect("fail", "does not answer", {"driver": "fail: there is an NVIDIA card"}),
    # engines
    "cdi-only": Expect("pass", ("cu118", "docker", "cdi", 1), {"gpu-toolkit": "pass: CDI (/etc/cdi"}),
    "rootless": Expect("pass", ("cu118", "docker", "cdi", 1), {"engine-kind": "rootless", "socket": "without root"}),
    "toolkit-missing": Expect("warn", ("cu118", "native", "direct", 1), {"gpu-toolkit": "warn: Docker 26.1.5 cannot"}),
    "docker-snap": Expect("warn", ("cu118", "native", "direct", 1), {"engine-kind": "warn: Docker from snap"}),
    "docker-desktop-linux": Expect("warn", ("cu118", "native", "direct", 1), {"gpu-toolkit": "warn: Docker Desktop"}),
    "no-docker": Expect("warn", ("cu118", "native", "direct", 4), {"docker": "warn: Docker is not installed"}),
    "docker-denied": Expect("warn", ("cpu", "native", "none", 0), {"socket": "warn: Docker is running but this user"}),
    "docker-down": Expect("warn", ("cpu", "native", "none", 0), {"docker": "warn: Docker is installed but its"}),
    "docker-old": Expect(
        "warn", ("cpu", "native", "none", 0), {"docker": "older than 23", "buildx": "without its buildx plugin"}
    ),
    # a driver whose tool warns, fails, hangs or crashes
    "smi-inforom": Expect(
        "warn", ("cu118", "docker", "runtime", 1), {"driver": "warn: nvidia-smi warns: WARNING: infoROM is corrupted"}
    ),
    "card-lost": Expect(
        "fail",
        "a card has fallen off the bus",
        {"driver": "bus: Unable to determine the device handle for GPU 0000:0B"},
    ),
    "card-lost-row": Expect(
        "warn", ("cu118", "docker", "runtime", 3), {"driver": "left out: GPU 3 does not answer: GPU is lost"}
    ),
    "smi-hangs": Expect("fail", "cannot be killed", {"driver": "nvidia-smi did not answer within 20 s"}),
    "smi-crashes": Expect("fail", "killed by signal 11", {"driver": "fail: the NVIDIA driver cannot be asked"}),
    "vfio": Expect("warn", ("cpu", "docker", "none", 0), {"driver": "but its driver lists none"}, {"driver": "vfio"}),
    "smi-off-path": Expect(
        "warn", ("cpu", "docker", "none", 0), {"driver": "550.54.15 is loaded but nvidia-smi"}, {"driver": "PATH"}
    ),
    "gtx-1080-r580": Expect("pass", ("cu118", "docker", "runtime", 1), {"cards": "keep the driver at branch 580"}),
    "jetson-orin": Expect("fail", "no CUDA build for Linux on aarch64", {"cards": "fail: PyTorch 2.0 has no CUDA"}),
    # cards that the user named
    "visible-index": Expect(
        "warn", ("cu118", "docker", "runtime", 1), {"request": "CUDA_VISIBLE_DEVICES 2", "cards": "warn: GPU 3"}
    ),
    "visible-uuid": Expect("pass", ("cu118", "docker", "runtime", 2), {"request": "CUDA_VISIBLE_DEVICES GPU-3f2c1a05"}),
    "visible-empty": Expect("pass", ("cpu", "docker", "none", 0), {"request": "CUDA_VISIBLE_DEVICES none"}),
    "visible-wrong": Expect("fail", "CUDA_VISIBLE_DEVICES=0,7: no GPU 7: there are 0, 1", {"request": "fail"}),
    "visible-blackwell": Expect("fail", "Blackwell needs PyTorch 2.7", {"cards": "fail: GPU 3"}),
    "mig": Expect(
        "warn", ("cu118", "docker", "runtime", 1), {"cards": "split into 2 MIG devices"}, {"cards": "--gpus MIG-c738"}
    ),
    "mig-selected": Expect("pass", ("cu118", "docker", "runtime", 1), {"request": "CUDA_VISIBLE_DEVICES MIG-a28ad590"}),
    "slurm": Expect("warn", ("cu118", "native", "direct", 2), {"memory": "34 GB, the limit of this container or job"}),
    "container-3gb": Expect(
        "warn",
        ("cpu", "native", "none", 0),
        {"memory": "3.2 GB, the limit of this container or job; the machine has 26"},
    ),
    # engines that need other advice
    "podman-docker": Expect(
        "warn", ("cpu", "native", "none", 0), {"docker": "warn: `docker` on this machine is Podman"}
    ),
    "podman-socket": Expect(
        "warn",
        ("cpu", "native", "none", 0),
        {"docker": "warn: `docker` on this machine is"},
        {"docker": "unset DOCKER_HOST"},
    ),
    "colima": Expect("warn", ("cpu", "docker", "none", 0), {"engine-kind": "pass: Colima", "memory": "pass: 8 GB"}),
    "colima-down": Expect(
        "warn", ("cpu", "native", "none", 0), {"docker": "not running"}, {"docker": "`colima start`"}
    ),
    "wsl2-desktop": Expect(
        "pass", ("cu118", "docker", "runtime", 1), {"gpu-toolkit": "pass: Docker Desktop gives the GPU of WSL 2"}
    ),
    "wsl2-down": Expect(
        "warn", ("cu118", "native", "direct", 1), {"docker": "not running"}, {"docker": "WSL integration"}
    ),
    "remote-ssh": Expect(
        "warn",
        ("cpu", "native", "none", 0),
        {"docker": "warn: the Docker engine at ssh://build.example runs on another machine"},
        {"docker": "in a checkout on that machine, or use this machine's engine: `unset DOCKER_HOST`"},
    ),
    "remote-context": Expect(
        "warn", ("cu118", "native", "direct", 1), {"engine-kind": "tcp://10.0.0.7"}, {"docker": "context use default"}
    ),
    "plugin-broken": Expect(
        "warn",
        ("cpu", "native", "none", 0),
        {"compose": "is broken: failed to fetch metadata: fork/exec /home/ana", "buildx": "pass: 0.14.0"},
        {"compose": "`rm '/home/ana/.docker/cli-plugins/docker-compose'`"},
    ),
    "plugins-old": Expect(
        "warn",
        ("cpu", "native", "none", 0),
        {"buildx": "0.7.1 is older than 0.10", "compose": "2.2.3 is older than 2.5"},
    ),
    "cdi-json": Expect("pass", ("cu118", "docker", "cdi", 1), {"gpu-toolkit": "pass: CDI (/etc/cdi"}),
    "selinux": Expect(
        "warn", ("cpu", "docker", "none", 0), {"selinux": "warn: SELinux keeps containers"}, {"selinux": "chcon -R -t"}
    ),
    "rootless-no-toolkit": Expect(
        "warn",
        ("cu118", "native", "direct", 1),
        {"gpu-toolkit": "Container Toolkit is not set up"},
        {"gpu-toolkit": "--config=$HOME/.config/docker/daemon.json"},
    ),
    "rootless-down": Expect(
        "warn", ("cpu", "native", "none", 0), {"docker": "not running"}, {"docker": "`systemctl --user start docker`"}
    ),
    "snap-down": Expect(
        "warn", ("cpu", "native", "none", 0), {"docker": "not running"}, {"docker": "snap start docker"}
    ),
    "docker-hangs": Expect("warn", ("cpu", "native", "none", 0), {"docker": "did not answer"}, {"docker": "restart"}),
    # networks
    "ca-folder": Expect("fail", "which is a folder, not a file", {"certificates": "fail: WORKSPACE_CA_BUNDLE names"}),
    "ca-der": Expect(
        "fail",
        "holds no certificate in PEM form",
        {"certificates": "fail"},
        {"certificates": "openssl x509 -inform der"},
    ),
    "company-bare": Expect(
        "pass", ("cpu", "docker", "none", 0), {"proxy": "pass: HTTPS_PROXY=proxy.example", "ports": "8888-8890, 6006"}
    ),
    # other machines
    "no-gpu": Expect("pass", ("cpu", "docker", "none", 0), {"driver": "skip: no NVIDIA driver"}),
    "wsl2": Expect("pass", ("cu118", "docker", "runtime", 1), {"wsl": "pass: WSL 2", "driver-gate": "skip: under WSL"}),
    "wsl1": Expect("warn", ("cpu", "native", "none", 0), {"wsl": "warn: WSL 1"}),
    "macos-arm64": Expect("warn", ("cpu", "native", "none", 0), {"system": "warn: macOS 14.5 on arm64"}),
    "gh200": Expect("fail", "no CUDA build for Linux on aarch64", {"cards": "fail: PyTorch 2.0 has no CUDA build"}),
    "company": Expect(
        "fail", ("cpu", "docker", "none", 0), {"disk": "fail: the cpu image needs", "ports": "8888 (notebook)"}
    ),
}


def test_every_recorded_host_is_in_the_table() -> None:
    assert set(TABLE) == set(names())


@pytest.mark.parametrize("name", TABLE)
def test_recorded_host(name: str) -> None:
    expect = TABLE[name]
    context = CheckContext.of(world_of(name), Request())
    results = examine(context)
    lines = {r.name: f"{r.status}: {r.detail}" for r in results}

    assert [r.name for r in results if "check itself broke" in r.detail] == []
    for check, part in expect.finds.items():
        assert part in lines[check]
    for check, part in expect.fixes.items():
        assert part in {r.name: r.fix for r in results}[check]
    last = conclusion(context, results)
    if isinstance(expect.plan, str):
        assert context.plan is None
        assert expect.plan in last
    else:
        plan = context.plan
        assert plan is not None
        assert (plan.variant.name, plan.backend, plan.gpu_mode, len(plan.cards)) == expect.plan
    use = "the workspace cannot run here: " if expect.verdict == "fail" else f"use variant {expect.plan[0]} ("
    assert last.startswith(use)
    assert verdict(results) == expect.verdict, [line for line in lines.values() if line[:4] in ("warn", "fail")]
    assert all(r.fix for r in results if r.status in ("warn", "fail"))
    assert all(r.source for r in results if r.status in ("warn", "fail"))


@pytest.mark.parametrize("name", TABLE)
def test_up_stops_if_and_only_if_the_doctor_fails(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(name)
    world.commands["python3.10"] = "3.10.13\n"
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    for module in ("docker", "native"):
        monkeypatch.setattr(f"app.host.backends.{module}.fetch_obstacle", lambda address, ca_bundle=None: "")

    def run(command: Command) -> int:
        if command.argv[:2] == ("uv", "venv"):
            (tmp_path / command.argv[-1]).mkdir()
        return 0

    try:
        open_workspace(Request(), RecordingRunner(tmp_path, run), world, tmp_path).ensure()
        stopped = False
    except HostError:
        stopped = True
    assert stopped == (TABLE[name].verdict == "fail")


def test_nothing_secret_is_printed() -> None:
    results = examine(CheckContext.of(world_of("company"), Request()))
    (proxy,) = [r for r in results if r.name == "proxy"]
    assert proxy.detail == "HTTPS_PROXY=http://proxy.example:3128, NO_PROXY=localhost,127.0.0.1"
    assert not any("secret" in r.detail for r in results)


def test_only_read_only_commands_are_run() -> None:
    read_only = {
        *(("docker", verb) for verb in ("info", "ps", "image", "context")),
        ("nvidia-smi",),
        ("sw_vers",),
        ("sysctl",),
        ("stat",),
    }
    for name in names():
        world = world_of(name)
        examine(CheckContext.of(world, Request()))
        for argv in world.ran:
            assert argv[1] not in ("image", "context") or argv[2] == "inspect", argv
            program = argv[0].rsplit("/", 1)[-1]
            assert (program,) in read_only or (program, argv[1]) in read_only, argv
