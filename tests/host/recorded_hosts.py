"""Machines as text files: `tests/fixtures/hosts/<name>/` into a FakeWorld.

    host.txt                        what it is (the first line), `system`, `machine`, disk space, `pci` addresses
    nvidia-smi.txt, .exit           rows of --query-gpu or what it printed instead, and its exit code
    docker-info.json, .exit         `docker info --format '{{json .}}'`; exit code and standard error
    proc-*.txt, etc-*               files of the machine, `-` for `/`
    env.txt                         environment, NAME=value

A host without docker-info.json or nvidia-smi.txt does not have the program. Every one has uv.
"""

from __future__ import annotations

from pathlib import Path

from app.host.world import Completed
from tests.host.fake_world import Answer, FakeWorld

HOSTS = Path(__file__).parents[1] / "fixtures" / "hosts"
FILES = {
    "proc-version.txt": "/proc/version",
    "proc-meminfo.txt": "/proc/meminfo",
    "proc-net-tcp.txt": "/proc/net/tcp",
    "proc-driver-nvidia-version.txt": "/proc/driver/nvidia/version",
    "etc-os-release.txt": "/etc/os-release",
    "etc-cdi-nvidia.yaml": "/etc/cdi/nvidia.yaml",
}
REFUSAL = 'Field "compute_cap" is not a valid field to query.\n\n'  # nvidia-smi before R510


def names() -> list[str]:
    return sorted(path.name for path in HOSTS.iterdir())


def world_of(name: str) -> FakeWorld:
    """The recorded machine of that name."""
    folder = HOSTS / name
    facts = dict(line.split(" ", 1) for line in _read(folder / "host.txt").splitlines() if line[0] != "#")
    files = {there: _read(folder / here) for here, there in FILES.items() if (folder / here).exists()}
    for address in facts.get("pci", "").split():
        files[f"/sys/bus/pci/devices/{address}/vendor"] = "0x10de\n"
        files[f"/sys/bus/pci/devices/{address}/class"] = "0x030200\n"
    env = dict(line.split("=", 1) for line in _read(folder / "env.txt").splitlines())
    if bundle := env.get("WORKSPACE_CA_BUNDLE"):
        files[bundle] = "certificates"
    return FakeWorld(
        commands=_commands(folder),
        files=files,
        env=env,
        programs={"uv": "/usr/local/bin/uv"},
        free={
            "/": int(facts["docker-disk-free-gb"]) * 10**9,
            str(Path(__file__).parents[2]): int(facts["project-disk-free-gb"]) * 10**9,
        },
        system=facts["system"],
        machine=facts["machine"],
    )


def _commands(folder: Path) -> dict[str, Answer]:
    commands: dict[str, Answer] = {}
    if (folder / "docker-info.json").exists():
        code, _, said = _read(folder / "docker-info.exit").partition("\n")
        commands["docker info"] = Completed(int(code or 0), _read(folder / "docker-info.json"), said)
    if (folder / "nvidia-smi.txt").exists():
        printed = Completed(int(_read(folder / "nvidia-smi.exit") or 0), _read(folder / "nvidia-smi.txt"))
        before_r510 = printed.ok and len(printed.out.splitlines()[0].split(",")) == 5
        commands["nvidia-smi"] = {"compute_cap": Completed(2, REFUSAL) if before_r510 else printed, "--query": printed}
    for program in ("sw_vers", "sysctl"):
        if (folder / f"{program}.txt").exists():
            commands[program] = _read(folder / f"{program}.txt")
    return commands


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
