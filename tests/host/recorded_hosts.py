"""Machines as text files: `tests/fixtures/hosts/<name>/` into a FakeWorld.

    host.txt                        what it is (the first line), `system`, `machine`, disk, cores, `pci` addresses;
                                    the path of `docker` if it is not in /usr/bin
    nvidia-smi.txt, .exit           rows of --query-gpu or what it printed instead; exit code and standard error
    nvidia-smi-L.txt                `nvidia-smi -L`, of a machine with MIG devices
    docker-info.json, .exit         `docker info --format '{{json .}}'`; exit code and standard error
    docker-context.txt, stat.txt    the address of the current context; the checkout's SELinux label
    proc-*.txt, etc-*, sys-*        files of the machine, `-` for `/`
    cgroup-*.txt, certificate*.txt  a file whose path has a `-`: the first line is the path, the rest what it holds
    env.txt                         environment, NAME=value

A host without docker-info.json or nvidia-smi.txt does not have the program. Every one has uv.
"""

from __future__ import annotations

from pathlib import Path

from app.host.world import Completed
from tests.host.fake_world import CERTIFICATE, Answer, FakeWorld

HOSTS = Path(__file__).parents[1] / "fixtures" / "hosts"
FILES = {
    "proc-version.txt": "/proc/version",
    "proc-meminfo.txt": "/proc/meminfo",
    "proc-net-tcp.txt": "/proc/net/tcp",
    "proc-net-tcp6.txt": "/proc/net/tcp6",
    "proc-self-cgroup.txt": "/proc/self/cgroup",
    "proc-driver-nvidia-version.txt": "/proc/driver/nvidia/version",
    "etc-os-release.txt": "/etc/os-release",
    "etc-cdi-nvidia.yaml": "/etc/cdi/nvidia.yaml",
    "etc-cdi-nvidia.json": "/etc/cdi/nvidia.json",
    "sys-fs-selinux-enforce.txt": "/sys/fs/selinux/enforce",
}
REFUSAL = 'Field "compute_cap" is not a valid field to query.\n\n'  # nvidia-smi before R510


def names() -> list[str]:
    return sorted(path.name for path in HOSTS.iterdir())


def world_of(name: str) -> FakeWorld:
    """The recorded machine of that name."""
    folder = HOSTS / name
    facts = dict(line.split(" ", 1) for line in _read(folder / "host.txt").splitlines() if line[0] != "#")
    files = {there: _read(folder / here) for here, there in FILES.items() if (folder / here).exists()}
    for path in sorted([*folder.glob("cgroup-*.txt"), *folder.glob("certificate*.txt")]):
        where, _, text = _read(path).partition("\n")
        files[where] = text
    for address in facts.get("pci", "").split():
        files[f"/sys/bus/pci/devices/{address}/vendor"] = "0x10de\n"
        files[f"/sys/bus/pci/devices/{address}/class"] = "0x030200\n"
    env = dict(line.split("=", 1) for line in _read(folder / "env.txt").splitlines())
    bundle = env.get("WORKSPACE_CA_BUNDLE")
    if bundle and not any(path.startswith(bundle) for path in files):
        files[bundle] = CERTIFICATE
    return FakeWorld(
        commands=_commands(folder),
        files=files,
        env=env,
        programs={"uv": "/usr/local/bin/uv", **({"docker": facts["docker"]} if "docker" in facts else {})},
        free={
            "/": int(facts["docker-disk-free-gb"]) * 10**9,
            str(Path(__file__).parents[2]): int(facts["project-disk-free-gb"]) * 10**9,
        },
        system=facts["system"],
        machine=facts["machine"],
        cores=int(facts.get("cores", 16)),
    )


def _commands(folder: Path) -> dict[str, Answer]:
    commands: dict[str, Answer] = {}
    if (folder / "docker-info.json").exists():
        commands["docker info"] = _printed(folder, "docker-info.exit", "docker-info.json")
        commands["docker context inspect"] = _read(folder / "docker-context.txt")
    if (folder / "nvidia-smi.txt").exists():
        printed = _printed(folder, "nvidia-smi.exit", "nvidia-smi.txt")
        rows = [line.split(",") for line in printed.out.splitlines() if line[:1].isdigit()]
        before_r510 = bool(rows) and len(rows[0]) == 5
        commands["nvidia-smi"] = {
            "compute_cap": Completed(2, REFUSAL) if before_r510 else printed,
            "--query": printed,
            "-L": _read(folder / "nvidia-smi-L.txt"),
        }
    for program in ("sw_vers", "sysctl", "stat"):
        if (folder / f"{program}.txt").exists():
            commands[program] = _read(folder / f"{program}.txt")
    return commands


def _printed(folder: Path, code_and_errors: str, output: str) -> Completed:
    code, _, said = _read(folder / code_and_errors).partition("\n")
    return Completed(int(code or 0), _read(folder / output), said)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
