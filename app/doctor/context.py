"""What a check gets: the machine, torch, NVIDIA's libraries and the environment, each replaceable in a test."""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.doctor.nvidia import NvidiaLibraries
from app.doctor.torch_probe import StepMissingError, TorchProbe
from app.host.checks.check import Answer, failed, skipped
from app.host.explain import explain
from app.host.probe.machine import ROOT
from app.host.variants import VARIANTS, Variant, code_for
from app.host.world import World

REINSTALL = "put the locked packages back: `invoke clean`, then `invoke up`"  # a fix of many checks
LONGEST_DETAIL = 300  # characters of an error's text in a report


def _lock_folder(world: World) -> Path | None:
    """Return the folder of the lock files: the checkout's, or the one baked into the image next to the environment."""
    places = (ROOT / "docker" / "locks", Path(sys.prefix) / "locks")
    return next((place for place in places if world.exists(str(place / "runtime.txt"))), None)


@dataclass
class DoctorContext:
    """What every check inside the environment gets.

    `workers`: data loader workers that the user asked to check for, or None. `site`: the folder of the installed
    packages. `prefix`: the environment that they belong to. `locks`: the folder of the lock files, or None.
    """

    world: World = field(default_factory=World)
    probe: TorchProbe = field(default_factory=TorchProbe)
    nvidia: NvidiaLibraries = field(default_factory=NvidiaLibraries)
    workers: int | None = None
    site: Path = Path(sysconfig.get_paths()["purelib"])
    prefix: Path = Path(sys.prefix)
    locks: Path | None = None

    def __post_init__(self) -> None:
        if self.locks is None:
            self.locks = _lock_folder(self.world)

    @property
    def variant(self) -> Variant | None:
        """Return the variant that this environment was made as; None if WORKSPACE_VARIANT names none."""
        return VARIANTS.get(self.world.env.get("WORKSPACE_VARIANT", ""))

    @property
    def gpu_nodes(self) -> list[str]:
        """Return the device files of the GPUs that this process was given: /dev/nvidia0, ...; on WSL one, /dev/dxg."""
        return self.world.glob("/dev/nvidia[0-9]*") or self.world.glob("/dev/dxg")

    @property
    def device(self) -> str:
        """Return the device that the checks work on: the first GPU that torch has code for, else the CPU."""
        archs = self.probe.build().archs
        return next((f"cuda:{g.index}" for g in self.probe.gpus() if code_for(archs, g.capability)), "cpu")


CheckFunction = Callable[[DoctorContext], Answer]


def catch_errors(fix: str) -> Callable[[CheckFunction], CheckFunction]:
    """Return a decorator for a check that makes torch work: an exception is a failure of the environment, not a bug.

    The fix is the catalogue's if it knows the error, else `fix`.
    """

    def wrap(look: CheckFunction) -> CheckFunction:
        @functools.wraps(look)
        def guarded(context: DoctorContext) -> Answer:
            try:
                return look(context)
            except StepMissingError as error:
                return skipped(f"{error}: see the steps before")
            except Exception as error:
                return explained_failure(f"{type(error).__name__}: {error}", fix)

        return guarded

    return wrap


def explained_failure(text: str, fix: str) -> Answer:
    """Return a failure with an error's text, shortened, and the catalogue's fix if it knows the error, else `fix`."""
    known = explain(text)
    line = " ".join(text.split())
    return failed(
        line if len(line) <= LONGEST_DETAIL else f"{line[: LONGEST_DETAIL - 3]}...",
        f"{known[0].type[0]} ({known[0].id})" if known else fix,
    )
