"""Fail the build if torch is not the one that the variant promises. Runs at the end of the build, without a GPU.

verify.py PROMISES.json        exit code 1 and an `error:` and a `fix:` line for each broken promise
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch._C as BINARY

FIX = "correct the pins in docker/locks, `invoke lock`, and build again"


def broken(promises: dict[str, Any]) -> list[str]:
    """Return a sentence for each difference from app/host/variants.py."""
    found = []

    def expect(what: str, value: object, promised: object) -> None:
        if value != promised:
            found.append(f"{what} is {value}; variant {promises['variant']} promises {promised}")

    expect("Python", ".".join(map(str, sys.version_info[:2])), promises["python"])
    # Module and metadata separately: a later installation may change one without the other.
    for name, version in promises["modules"].items():
        expect(f"the installed {name}", importlib.import_module(name).__version__.split("+")[0], version)
        expect(f"the metadata of {name}", importlib.metadata.version(name).split("+")[0], version)
    expect("torch's CUDA", torch.version.cuda, promises["cuda"])
    # torch.cuda.get_arch_list() is empty on a machine without a GPU; this is what it reads.
    archs = (BINARY._cuda_getArchFlags() or "").split() if promises["cuda"] else []
    missing = [arch for arch in promises["archs"] if arch not in archs]
    if missing:
        found.append(
            f"torch has no code for {', '.join(missing)}, which variant {promises['variant']} promises; it has {archs}"
        )
    return found


def installed_twice() -> list[str]:
    """Return a sentence for each package with metadata of two versions: two layers that disagree."""
    distributions = importlib.metadata.distributions()
    names = Counter(re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower() for distribution in distributions)
    return [f"{name} is installed {count} times, by different lock files" for name, count in names.items() if count > 1]


if __name__ == "__main__":
    problems = [*broken(json.loads(Path(sys.argv[1]).read_text())), *installed_twice()]
    for problem in problems:
        print(f"error: {problem}\n  fix: {FIX}", file=sys.stderr)
    sys.exit(bool(problems))
