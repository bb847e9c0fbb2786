"""torch.compile around the plain model, so that checkpoints keep their keys; eager if compiling is not possible."""

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
    """Return the model's compiled form; None, with the reason on stderr, if nothing can be compiled here."""
    obstacle = compiler_obstacle()
    if obstacle is None and not shutil.which(os.environ.get("CXX", "g++")):
        obstacle = "there is no C++ compiler (install g++)"
    if obstacle:
        _say(obstacle)
        return None
    # torch 2.0 tests the vector instructions by running `python -c "import torch ..."`. If the first `python` on PATH
    # is another one, that test fails silently and no loop is vectorised.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return CompiledForward(model)


class CompiledForward:
    """Calls the compiled model, and after the first failure to compile the model itself.

    The compiler runs when a new shape of input comes, so any call can fail.
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
    print(f"not compiled: {reason}; training continues without", file=sys.stderr)
