"""A recorded machine: commands and what they printed, files and what they hold.

    world = FakeWorld(commands={"docker": docker_info(), "nvidia-smi": nvidia_smi("NVIDIA L4", driver="535.104.05")})

A command is looked up by its whole line, then by its longest recorded beginning (whole words). A program of which
nothing is recorded does not exist on the machine.
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Union

from app.host.world import NOT_FOUND, Completed, World

Answer = Union[str, Completed, Mapping[str, Union[str, Completed]]]  # a mapping: by what the line contains


class FakeWorld(World):
    """A World made of what was recorded. `ran` is every command asked, for tests of what is *not* run."""

    def __init__(
        self,
        commands: Mapping[str, Answer] | None = None,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        programs: Mapping[str, str] | None = None,
        free: Mapping[str, int] | int | None = 500_000_000_000,
        system: str = "Linux",
        machine: str = "x86_64",
        cores: int = 16,
    ) -> None:
        self.commands = dict(commands or {})
        self.files = dict(files or {})
        self.programs = dict(programs or {})
        self.ran: list[list[str]] = []
        self.private: set[str] = set()
        self.settings = dict(env or {})
        self._free = free
        self._system = system
        self._machine = machine
        self._cores = cores

    @property
    def env(self) -> Mapping[str, str]:
        return self.settings

    def run(self, argv: Sequence[str], timeout: float = 10.0) -> Completed:
        self.ran.append(list(argv))
        line = shlex.join([PurePath(argv[0]).name, *argv[1:]])
        begins = [k for k in self.commands if line == k or line.startswith(k + " ")]
        if not begins:
            return Completed(NOT_FOUND, err=f"{argv[0]}: No such file or directory")
        answer = self.commands[max(begins, key=len)]
        if isinstance(answer, Mapping):
            answer = next((said for part, said in answer.items() if part in line), Completed(1, err="not recorded"))
        return answer if isinstance(answer, Completed) else Completed(0, answer)

    def which(self, name: str) -> str | None:
        if name in self.programs:
            return self.programs[name]
        return f"/usr/bin/{name}" if any(key.split()[0] == name for key in self.commands) else None

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return path in self.files or any(f.startswith(path.rstrip("/") + "/") for f in self.files)

    def is_file(self, path: str) -> bool:
        return path in self.files

    def open_to_all(self, path: str) -> bool:
        return path not in self.private

    def absolute(self, path: str) -> str:
        return posixpath.normpath(posixpath.join("/work", path))

    def glob(self, pattern: str) -> list[str]:
        depth = pattern.count("/")
        return sorted(f for f in self.files if f.count("/") == depth and fnmatch.fnmatch(f, pattern))

    def free_bytes(self, path: str) -> int | None:
        if isinstance(self._free, Mapping):
            beginnings = [p for p in self._free if path.startswith(p)]
            return self._free[max(beginnings, key=len)] if beginnings else None
        return self._free

    def port_in_use(self, address: str, port: int) -> bool:
        """Whether a listening socket of the recorded tables has the port of this address: its own or any."""
        own = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
        mapped = f"0000000000000000FFFF0000{own}"
        tables = [self.files.get(path, "") for path in ("/proc/net/tcp", "/proc/net/tcp6")]
        taken = re.findall(rf"^ *\d+: ([0-9A-F]+):{port:04X} [0-9A-F:]+ 0A ", "".join(tables), re.M)
        return any(found in (own, mapped) or not found.strip("0") for found in taken)

    @property
    def cores(self) -> int:
        return self._cores

    @property
    def system(self) -> str:
        return self._system

    @property
    def machine(self) -> str:
        return self._machine


def docker_info(version: str = "26.1.5", **fields: Any) -> str:
    """`docker info --format '{{json .}}'` of Docker 26.1.5 cut to what is read; `fields` replace its own."""
    info: dict[str, Any] = {
        "ID": "2c0f8f3c-7a0e-4f3e-9a55-2c6d2f0f1f6b",
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"], ["Native Overlay Diff", "true"]],
        "CgroupDriver": "systemd",
        "CgroupVersion": "2",
        "KernelVersion": "6.1.0-28-amd64",
        "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": 16,
        "MemTotal": 67_000_000_000,
        "DockerRootDir": "/var/lib/docker",
        "Name": "host",
        "ServerVersion": version,
        "Runtimes": {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
        "DefaultRuntime": "runc",
        "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
        "CDISpecDirs": None,
        "Warnings": None,
        "ClientInfo": {
            "Version": version,
            "Context": "default",
            "Plugins": [
                {"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "0.13.1+ds1", "Name": "buildx"},
                {"SchemaVersion": "0.1.0", "Vendor": "Docker Inc.", "Version": "2.26.1-4", "Name": "compose"},
            ],
        },
    }
    return json.dumps({**info, **fields})


# A certificate of nobody: its key was thrown away. Valid until 2126.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBkTCCATegAwIBAgIUTHrfH0B54Z9KehMlrcrYQRBccx8wCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSRXhhbXBsZSBDb21wYW55IENBMCAXDTI2MTEyNjAwNTIxMloY
DzIxMjYxMTAyMDA1MjEyWjAdMRswGQYDVQQDDBJFeGFtcGxlIENvbXBhbnkgQ0Ew
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQzsBmA22WVtIvbbXoMHfsgBs73K+W2
LnfiTtp9MdMcHcELZ+Iqha8SPYRXgOFiRHFhgIa7pnxUB7bpBbcxE/dqo1MwUTAd
BgNVHQ4EFgQUfer13pyDJB4J0xZmmLsYqZkT7GswHwYDVR0jBBgwFoAUfer13pyD
JB4J0xZmmLsYqZkT7GswDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBF
AiB5Xq+m4aBX25OWfwbMTjA3YT058DUSZxkSC5tT9PxQZAIhAPJjqbycEh51B7HI
sGSZFZYI6Ln1reCvQX9UY15aQrOQ
-----END CERTIFICATE-----
"""

NVIDIA_RUNTIME = {"nvidia": {"path": "nvidia-container-runtime"}, "runc": {"path": "runc"}}  # of `Runtimes`
CDI_SPEC = """\
cdiVersion: 0.5.0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""  # what `nvidia-ctk cdi generate` writes on a machine with one card, cut

DOCKER_DOWN = Completed(
    1,
    '{"ID":"","ServerVersion":"","ClientInfo":{"Plugins":[]}}',
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
)
DOCKER_DENIED = Completed(
    1,
    '{"ServerErrors":["permission denied while trying to connect to the Docker daemon socket at '
    'unix:///var/run/docker.sock: Get \\"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info\\": dial unix '
    '/var/run/docker.sock: connect: permission denied"],"ClientInfo":{"Plugins":[]}}',
    "errors pretty printing info",
)
# nvidia-smi after an unattended driver upgrade, until the reboot.
MISMATCH = Completed(
    18, "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 535.183\n", ""
)

_CAPABILITIES = {  # what newer drivers answer for compute_cap
    "Tesla K80": "3.7",
    "Tesla P100-PCIE-16GB": "6.0",
    "Tesla V100-SXM2-16GB": "7.0",
    "Tesla T4": "7.5",
    "NVIDIA A100-SXM4-80GB": "8.0",
    "NVIDIA A10G": "8.6",
    "NVIDIA GeForce RTX 3090": "8.6",
    "NVIDIA GeForce RTX 4090": "8.9",
    "NVIDIA L4": "8.9",
    "NVIDIA H100 80GB HBM3": "9.0",
    "NVIDIA H200": "9.0",
    "NVIDIA B200": "10.0",
    "NVIDIA GeForce RTX 5090": "12.0",
}


def nvidia_smi(*names: str, driver: str, memory_mib: int = 24564) -> Mapping[str, str | Completed]:
    """nvidia-smi of a machine with these cards: csv rows with compute_cap, or before R510 the refusal of that field."""
    rows = [f"{i}, {name}, GPU-{i:08d}-0000-0000, {driver}, {memory_mib}" for i, name in enumerate(names)]
    old = "\n".join(rows) + "\n"
    if int(driver.split(".")[0]) < 510:
        refusal = Completed(2, 'Field "compute_cap" is not a valid field to query.\n\n')
        return {"compute_cap": refusal, "--query-gpu": old}
    return {"--query-gpu": "\n".join(f"{row}, {_CAPABILITIES[n]}" for row, n in zip(rows, names)) + "\n"}
