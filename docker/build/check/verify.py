"""Refuse an image whose torch is not the one that its variant promises. Run at the end of the build, without a GPU.

verify.py VARIANT        exit code 1 and one `error:` line for each broken promise
"""

import importlib.metadata
import re
import sys
from collections import Counter

import torch
import torchaudio
import torchvision

from app.host.variants import PYTHON, TORCH, TORCHAUDIO, TORCHVISION, variant


def broken_promises(name: str) -> list[str]:
    """What is not as app/host/variants.py says, in words."""
    promised = variant(name)
    found = []

    def expect(what: str, value: object, wanted: object) -> None:
        if value != wanted:
            found.append(f"{what} is {value}; variant {name} promises {wanted}")

    expect("Python", ".".join(map(str, sys.version_info[:2])), PYTHON)
    # The modules and the metadata apart: a later install may move either without the other.
    for module, wanted in ((torch, TORCH), (torchvision, TORCHVISION), (torchaudio, TORCHAUDIO)):
        expect(f"the installed {module.__name__}", module.__version__.split("+")[0], wanted)
        expect(f"the metadata of {module.__name__}", importlib.metadata.version(module.__name__).split("+")[0], wanted)
    expect("torch's CUDA", torch.version.cuda, promised.cuda)
    # torch.cuda.get_arch_list() is empty where no GPU is; this is what it reads.
    archs = torch._C._cuda_getArchFlags().split() if promised.cuda else []
    missing = [arch for arch in promised.archs if arch not in archs]
    if missing:
        found.append(f"torch has no code for {', '.join(missing)}, which variant {name} promises; it has {archs}")
    return found + installed_twice()


def installed_twice() -> list[str]:
    """Distributions with more than one set of metadata: two layers that disagree about a package."""
    names = Counter(
        re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower() for distribution in importlib.metadata.distributions()
    )
    return [f"{name} is installed {count} times, by different lock files" for name, count in names.items() if count > 1]


if __name__ == "__main__":
    problems = broken_promises(sys.argv[1])
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    sys.exit(bool(problems))
