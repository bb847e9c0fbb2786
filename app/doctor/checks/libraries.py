"""Checks of the loaded CUDA and cuDNN libraries: each once, and from the locked wheels."""

from __future__ import annotations

import re
from pathlib import PurePath

from app.doctor.context import DoctorContext, catch_errors
from app.host.checks.check import Answer, check, failed, passed, skipped, warned

# Libraries that must be loaded once, from the wheels. A wheel may put eight hexadecimal digits into a name, as in
# libcudart-d0da41ae.so.11.0; they are not part of the name here.
_LIBRARY = re.compile(
    r"/(lib(?:cudnn\w*|cudart|cublas|cublasLt|cufft|cufftw|curand|cusparse|cusolver|cusolverMg|nccl|nvrtc))"
    r"(?:-[0-9a-f]{8})?\.so[.\d]*$"
)
# Libraries of the driver: the host's, mounted into the container.
DRIVER = re.compile(r"/(libcuda|libnvidia-ml|libnvidia-ptxjitcompiler)\.so[.\d]*$")
MIXED = "take the folder of the one that is not the wheel's out of LD_LIBRARY_PATH and LD_PRELOAD"


def library_paths(maps: str) -> list[str]:
    """Return the paths of the shared libraries in a text of /proc/self/maps, each once, in its order."""
    return list(dict.fromkeys(re.findall(r"\s(/\S.*?\.so[.\d]*)$", maps, re.M)))


def cuda_libraries(paths: list[str]) -> dict[str, list[str]]:
    """Return the paths of CUDA's and the driver's libraries, by name without version and a wheel's digits."""
    found: dict[str, list[str]] = {}
    for path in paths:
        if "/wsl/drivers/" in path:  # on WSL libcuda is loaded twice: a loader, and the driver of Windows
            continue
        if match := _LIBRARY.search(path) or DRIVER.search(path):
            found.setdefault(match[1], []).append(path)
    return found


@check("loaded libraries", limit=60, source="https://github.com/pytorch/pytorch/issues/104591")
@catch_errors("`app doctor explain` with the text")
def libraries(context: DoctorContext) -> Answer:
    """After a convolution, no CUDA or cuDNN library is loaded twice, and cuDNN's parts come from one folder."""
    kinds = cuda_libraries(library_paths(context.probe.memory_maps(context.device)))
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
    if cudnn and own and not _in_site(context, cudnn[0]):
        return failed(f"{cudnn[0]} is loaded instead of the wheel's {own[0]}", MIXED)
    every = [path for _, paths in sorted(kinds.items()) for path in paths]
    foreign = [path for path in every if not DRIVER.search(path) and not _in_site(context, path)]
    if foreign:
        return warned(f"not from the locked wheels: {', '.join(foreign)}", MIXED)
    return passed(f"{len(kinds)} libraries of CUDA, each once, from the locked wheels")


def _wheels_cudnn(context: DoctorContext) -> list[str]:
    """Return the paths of the wheels' cuDNN, which comes with torch or as its own package."""
    return [
        path
        for place in ("nvidia/cudnn", "torch")
        for path in context.world.glob(f"{context.site}/{place}/lib/libcudnn.so*")
    ]


def _in_site(context: DoctorContext, path: str) -> bool:
    return path.startswith(f"{context.site}/")


@check("library path", quick=True, source="https://github.com/pytorch/pytorch/issues/80637")
def library_path(context: DoctorContext) -> Answer:
    """LD_LIBRARY_PATH and LD_PRELOAD name no second CUDA or cuDNN library, even if it is not loaded yet."""
    env = context.world.env
    folders = [folder for folder in env.get("LD_LIBRARY_PATH", "").split(":") if folder]
    there = [path for folder in folders for path in context.world.glob(f"{folder.rstrip('/')}/lib*.so*")]
    there += [path for path in re.split(r"[:\s]+", env.get("LD_PRELOAD", "")) if path]
    kinds = cuda_libraries([path for path in there if not _in_site(context, path) and not DRIVER.search(path)])
    if not kinds:
        return passed(f"{len(folders)} folders, nothing of CUDA in them" if folders else "LD_LIBRARY_PATH is empty")
    own = _wheels_cudnn(context)
    cudnn = next((paths[0] for name, paths in sorted(kinds.items()) if name.startswith("libcudnn")), None)
    if cudnn and own:
        return failed(f"a second cuDNN, {cudnn}, would be mixed with the wheel's, {own[0]}", MIXED)
    return warned(f"a second {', '.join(sorted(kinds))} in {PurePath(next(iter(kinds.values()))[0]).parent}", MIXED)


@check("numpy", limit=30, source="https://github.com/pytorch/pytorch/issues/132179")
@catch_errors("put the locked numpy back: `uv pip install 'numpy<2'`")
def numpy(context: DoctorContext) -> Answer:
    """torch and numpy can exchange arrays: torch 2.0 is built against numpy 1."""
    return passed(f"numpy {context.probe.numpy_version()}, tensors go both ways")
