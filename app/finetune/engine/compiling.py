"""torch.compile around the inner model, so that checkpoints keep their plain keys, and eager where it cannot be."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.compat import compiler_obstacle
from app.finetune.tasks.base import Forward


def compiled(model: nn.Module) -> Forward | None:
    """The model's compiled form; None, with one line on stderr that says why, where there is no compiling here."""
    obstacle = compiler_obstacle()
    if obstacle is None and not shutil.which(os.environ.get("CXX", "g++")):
        obstacle = "there is no C++ compiler (install g++)"
    if obstacle:
        _say(obstacle)
        return None
    # torch 2.0 tries the vector instructions out by running `python -c "import torch ..."`; where the first `python` on
    # PATH is another one, the check fails without a word and no loop is vectorised.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return CompiledForward(model)


class CompiledForward:
    """Calls the compiled model, and from the first failure to compile on the model itself.

    The compiler runs when a shape of input is first seen, so it can fail at any call.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.forward: Any = torch.compile(model)

    def __call__(self, **inputs: Any) -> Any:
        if self.forward is self.model:
            return self.model(**inputs)
        import torch._dynamo.exc as failures  # a second of import, for those who compile

        try:
            return self.forward(**inputs)
        except (failures.BackendCompilerFailed, failures.InternalTorchDynamoError, failures.Unsupported) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            _say(lines[0] if lines else type(error).__name__)
            self.forward = self.model
            return self.model(**inputs)


def _say(reason: str) -> None:
    print(f"not compiled: {reason}; training goes on without", file=sys.stderr)
