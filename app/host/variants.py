"""The table of variants: which build of torch, on which base image, for which GPUs and drivers.

Tests compare the Dockerfile, compose files, locks and the README with it. To add a variant, add a row here and
`docker/locks/torch-<name>.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.errors import HostError, Problem

TORCH = "2.0.1"
TORCHVISION = "0.15.2"
TORCHAUDIO = "2.0.2"
PYTHON = "3.10"  # the last version that torch 2.0 can compile for
PYTHONS = ("3.10", "3.11")  # versions that the locks have wheels for, best first

Version = tuple[int, ...]
Capability = tuple[int, int]  # CUDA compute capability, (major, minor)

# The two builds' arch lists, as `torch.cuda.get_arch_list()` returns them. Neither build contains PTX, so the driver
# cannot compile code for newer cards.
_CU117_ARCHS = ("sm_37", "sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86")
_CU118_ARCHS = (*_CU117_ARCHS, "sm_90")
_ARCH = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)a?")  # sm_86, compute_90, sm_90a


def parse_version(text: str) -> Version:
    """Return the leading numbers of a version, for comparison: `535.104.05` -> (535, 104, 5); () if there are none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@dataclass(frozen=True)
class Drivers:
    """NVIDIA driver versions that a CUDA toolkit needs.

    `floor` is the lowest that runs it at all (minor-version compatibility within CUDA 11), `native` the one that it was
    released with. NVIDIA's image accepts, by its `NVIDIA_REQUIRE_CUDA`, the branches from `gate_branch` (that of
    `native`) on, and those in `gate_extra`. Other drivers from `floor` on can run it, but the container toolkit refuses
    them unless `NVIDIA_DISABLE_REQUIRE=true` is set.
    Source: CUDA release notes, table 3; minor-version-compatibility.html; the images' environment (Nov 2023).
    """

    floor: str
    native: str
    floor_windows: str  # WSL reports the Windows driver's number
    native_windows: str
    gate_branch: int
    gate_extra: tuple[int, ...] = (470,)

    def runs(self, driver: str, *, wsl: bool = False) -> bool:
        """Return whether this driver runs the toolkit at all."""
        return parse_version(driver) >= parse_version(self.floor_windows if wsl else self.floor)

    def is_native(self, driver: str, *, wsl: bool = False) -> bool:
        """Return whether this driver runs the toolkit without compatibility mode."""
        return parse_version(driver) >= parse_version(self.native_windows if wsl else self.native)

    def passes_gate(self, driver: str) -> bool:
        """Return whether NVIDIA's base image starts with this driver without `NVIDIA_DISABLE_REQUIRE`."""
        branch = parse_version(driver)[:1]
        return bool(branch) and (branch[0] >= self.gate_branch or branch[0] in self.gate_extra)


@dataclass(frozen=True)
class Variant:
    """One row: a build of torch, its base images, GPUs and drivers.

    `runtime_base`, `dev_base` and `slim_base` are image references. `venv_gb` and `image_gb` are the free space in GB
    (1e9 bytes) needed to make the environment or image: for a CUDA .venv 5.3 GB as measured, and its wheels; for the
    dev image its base (9.7 GB for cu118), the environment twice, because a build stage and the image each contain it,
    and the builder's cache.
    """

    name: str
    cuda: str | None
    runtime_base: str
    dev_base: str
    slim_base: str
    archs: tuple[str, ...]
    drivers: Drivers | None
    wheels: str  # their source, in words
    gpus: str  # the cards that it runs, in words
    venv_gb: int
    image_gb: int

    @property
    def torch(self) -> str:
        """`torch.__version__` of the installed build."""
        return f"{TORCH}+{self.name}"

    @property
    def lock(self) -> str:
        """The torch lock of this variant, relative to the project's root."""
        return f"docker/locks/torch-{self.name}.txt"

    def kernel_for(self, capability: Capability) -> str | None:
        """Return the architecture whose code this card runs, or None if there is none."""
        return code_for(self.archs, capability)


def code_for(archs: Iterable[str], capability: Capability) -> str | None:
    """Return the architecture in `archs` whose code a card of this compute capability runs, or None.

    `sm_86` is machine code (a cubin), which runs on cards of the same major and the same or a higher minor capability.
    `compute_86` is PTX, which the driver compiles for the same and every higher capability. Machine code comes first,
    then the highest number. Names of another form are ignored.
    Source: CUDA C++ Programming Guide, "Application Compatibility"; Ada compatibility guide.
    """
    found = []
    for arch in archs:
        match = _ARCH.fullmatch(arch)
        if match is None:
            continue
        target = int(match["major"]), int(match["minor"])
        is_machine_code = match["kind"] == "sm"
        if target <= capability and (target[0] == capability[0] or not is_machine_code):
            found.append((is_machine_code, target, arch))
    return max(found)[2] if found else None


VARIANTS: dict[str, Variant] = {
    v.name: v
    for v in (
        Variant(
            name="cu118",
            cuda="11.8",
            runtime_base="nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04"
            "@sha256:85fb7ac694079fff1061a0140fd5b5a641997880e12112d92589c3bbb1e8b7ca",
            dev_base="nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04"
            "@sha256:8f9dd0d09d3ad3900357a1cf7f887888b5b74056636cd6ef03c160c3cd4b1d95",
            slim_base="nvidia/cuda:11.8.0-base-ubuntu22.04"
            "@sha256:f895871972c1c91eb6a896eee68468f40289395a1e58c492e1be7929d0f8703b",
            archs=_CU118_ARCHS,
            drivers=Drivers("450.80.02", "520.61.05", "452.39", "520.06", gate_branch=520),
            wheels="the PyTorch index, by URL and hash",
            gpus="Kepler (K80) to Hopper (H100, H200)",
            venv_gb=8,
            image_gb=30,
        ),
        Variant(
            name="cu117",
            cuda="11.7",
            # No digest of these three is published, so they cannot be pinned.
            runtime_base="nvidia/cuda:11.7.1-cudnn8-runtime-ubuntu22.04",
            dev_base="nvidia/cuda:11.7.1-cudnn8-devel-ubuntu22.04",
            slim_base="nvidia/cuda:11.7.1-base-ubuntu22.04",
            archs=_CU117_ARCHS,
            drivers=Drivers("450.80.02", "515.48.07", "452.39", "516.31", gate_branch=515),
            wheels="the default package index",
            gpus="Kepler (K80) to Ada (L4, RTX 40xx); not Hopper",
            venv_gb=8,
            image_gb=28,
        ),
        Variant(
            name="cpu",
            cuda=None,
            runtime_base="ubuntu:22.04",
            dev_base="ubuntu:22.04",
            slim_base="ubuntu:22.04",
            archs=(),
            drivers=None,
            wheels="the PyTorch index, by URL and hash",
            gpus="none",
            venv_gb=4,
            image_gb=8,
        ),
    )
}

GPU_DEFAULT = "cu118"
DEFAULT_INDEX = "cu117"  # the build that needs only the default package index; it also runs on a CPU


def variant(name: str) -> Variant:
    """Return the variant of that name. Raises HostError if there is none."""
    try:
        return VARIANTS[name]
    except KeyError:
        raise HostError(Problem(f"there is no variant {name!r}", f"use one of: {', '.join(VARIANTS)}")) from None


def variant_for(capabilities: Iterable[Capability]) -> Variant | None:
    """Return the variant that runs all these cards, trying the GPU default first; None if none does."""
    required = list(capabilities)
    order = [VARIANTS[GPU_DEFAULT], *(v for v in VARIANTS.values() if v.cuda and v.name != GPU_DEFAULT)]
    return next((v for v in order if all(v.kernel_for(c) for c in required)), None)


_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


def slim(env: Mapping[str, str]) -> bool:
    """Return whether WORKSPACE_SLIM asks for NVIDIA's small base. Raises HostError if its value is no yes or no."""
    value = env.get("WORKSPACE_SLIM", "")
    if value.strip().lower() not in (*_YES, *_NO):
        raise HostError(Problem(f"WORKSPACE_SLIM={value!r} is neither yes nor no", "set it to 1 or 0, or unset it"))
    return value.strip().lower() in _YES
