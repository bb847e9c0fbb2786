"""CUDA's and cuDNN's libraries as this process has loaded them: no two of a kind, none from a foreign place."""

from __future__ import annotations

import re
from pathlib import PurePath

from app.doctor.context import DoctorContext, guarded
from app.host.checks.check import Answer, check, failed, passed, skipped, warned

# Libraries that must come once, and from the wheels. The wheel may put eight hexadecimal digits into a name
# (libcudart-d0da41ae.so.11.0), so that the same library has two names.
_LIBRARY = re.compile(
    r"/(lib(?:cudnn\w*|cudart|cublas|cublasLt|cufft|cufftw|curand|cusparse|cusolver|cusolverMg|nccl|nvrtc))"
    r"(?:-[0-9a-f]{8})?\.so[.\d]*$"
)
DRIVER = re.compile(r"/(libcuda|libnvidia-ml|libnvidia-ptxjitcompiler)\.so[.\d]*$")  # the host's, mounted
MIXED = "take the folder of the one that is not the wheel's out of LD_LIBRARY_PATH and LD_PRELOAD"


def loaded(maps: str) -> list[str]:
    """Paths of the shared libraries in a text of /proc/self/maps, each once, in order."""
    return list(dict.fromkeys(re.findall(r"\s(/\S.*?\.so[.\d]*)$", maps, re.M)))


def by_kind(paths: list[str]) -> dict[str, list[str]]:
    """CUDA's libraries among the paths, by name without version and hash."""
    found: dict[str, list[str]] = {}
    for path in paths:
        if "/wsl/drivers/" in path:  # WSL's libcuda is a loader in /usr/lib/wsl/lib for the one of Windows
            continue
        if match := _LIBRARY.search(path) or DRIVER.search(path):
            found.setdefault(match[1], []).append(path)
    return found


@check("loaded libraries", limit=60, source="https://github.com/pytorch/pytorch/issues/104591")
@guarded("`app doctor explain` with the text")
def libraries(context: DoctorContext) -> Answer:
    """After a convolution: no CUDA or cuDNN library is loaded twice, and cuDNN's parts come from one folder."""
    kinds = by_kind(loaded(context.probe.libraries(context.device)))
    if not kinds:
        return skipped("this torch loads no CUDA library")
    for name, paths in sorted(kinds.items()):
        if len(paths) > 1:
            return failed(f"{name} is loaded twice: {paths[0]} and {paths[1]}", MIXED)
    cudnn = [path for name, paths in kinds.items() if name.startswith("libcudnn") for path in paths]
    folders = {str(PurePath(path).parent): path for path in cudnn}
    if len(folders) > 1:
        one, other, *_ = folders.values()
        return failed(f"cuDNN's parts come from two places: {one} and {other}", MIXED)
    own = _wheels_cudnn(context)
    if cudnn and own and not _ours(context, cudnn[0]):
        return failed(f"{cudnn[0]} is loaded instead of the wheel's {own[0]}", MIXED)
    every = [path for _, paths in sorted(kinds.items()) for path in paths]
    foreign = [path for path in every if not DRIVER.search(path) and not _ours(context, path)]
    if foreign:
        return warned(f"not from the locked wheels: {', '.join(foreign)}", MIXED)
    return passed(f"{len(kinds)} libraries of CUDA, each once, from the locked wheels")


def _wheels_cudnn(context: DoctorContext) -> list[str]:
    """cuDNN as the wheels bring it: beside torch, or from its own package."""
    return [
        path
        for place in ("nvidia/cudnn", "torch")
        for path in context.world.glob(f"{context.site}/{place}/lib/libcudnn.so*")
    ]


def _ours(context: DoctorContext, path: str) -> bool:
    return path.startswith(f"{context.site}/")


@check("library path", quick=True, source="https://github.com/pytorch/pytorch/issues/80637")
def library_path(context: DoctorContext) -> Answer:
    """LD_LIBRARY_PATH and LD_PRELOAD name no second CUDA or cuDNN library, whether it is loaded yet or not."""
    env = context.world.env
    folders = [folder for folder in env.get("LD_LIBRARY_PATH", "").split(":") if folder]
    there = [path for folder in folders for path in context.world.glob(f"{folder.rstrip('/')}/lib*.so*")]
    there += [path for path in re.split(r"[:\s]+", env.get("LD_PRELOAD", "")) if path]
    kinds = by_kind([path for path in there if not _ours(context, path) and not DRIVER.search(path)])
    if not kinds:
        return passed(f"{len(folders)} folders, nothing of CUDA in them" if folders else "LD_LIBRARY_PATH is empty")
    own = _wheels_cudnn(context)
    cudnn = next((paths[0] for name, paths in sorted(kinds.items()) if name.startswith("libcudnn")), None)
    if cudnn and own:
        return failed(f"a second cuDNN, {cudnn}, would be mixed with the wheel's, {own[0]}", MIXED)
    return warned(f"a second {', '.join(sorted(kinds))} in {PurePath(next(iter(kinds.values()))[0]).parent}", MIXED)


@check("numpy", limit=30, source="https://github.com/pytorch/pytorch/issues/132179")
@guarded("put the locked numpy back: `uv pip install 'numpy<2'`")
def numpy(context: DoctorContext) -> Answer:
    """numpy and torch can hand arrays to each other: torch 2.0 is built against numpy 1."""
    return passed(f"numpy {context.probe.numpy()}, tensors go both ways")


CHECKS = (libraries, library_path, numpy)
