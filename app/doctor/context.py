"""What the checks inside are handed: the machine, torch, NVIDIA's libraries and the environment, all behind seams."""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.doctor.nvidia import Nvidia
from app.doctor.torch_probe import StepMissingError, TorchProbe
from app.host.checks.check import Answer, failed, skipped
from app.host.explain import explain
from app.host.probe.machine import ROOT
from app.host.variants import VARIANTS, Variant
from app.host.world import World


def _locks(world: World) -> Path | None:
    """Where the lock files are: the checkout's, or those baked into the image beside the environment."""
    places = (ROOT / "docker" / "locks", Path(sys.prefix) / "locks")
    return next((place for place in places if world.exists(str(place / "runtime.txt"))), None)


@dataclass
class DoctorContext:
    """`workers` is what the user said a run would use, None where they did not. `site` is where packages are installed,
    `prefix` the environment they belong to, `locks` the folder of lock files or None.
    """

    world: World = field(default_factory=World)
    probe: TorchProbe = field(default_factory=TorchProbe)
    nvidia: Nvidia = field(default_factory=Nvidia)
    workers: int | None = None
    site: Path = Path(sysconfig.get_paths()["purelib"])
    prefix: Path = Path(sys.prefix)
    locks: Path | None = None

    def __post_init__(self) -> None:
        if self.locks is None:
            self.locks = _locks(self.world)

    @property
    def variant(self) -> Variant | None:
        """The variant that this environment says it is."""
        return VARIANTS.get(self.world.env.get("WORKSPACE_VARIANT", ""))

    @property
    def nodes(self) -> list[str]:
        """Device nodes of the GPUs that this process was given: /dev/nvidia0, ...; WSL has one for all, /dev/dxg."""
        return self.world.glob("/dev/nvidia[0-9]*") or self.world.glob("/dev/dxg")

    @property
    def device(self) -> str:
        """The device that work goes to: the first card that torch has code for, else the CPU."""
        archs = self.probe.build().archs
        return next((f"cuda:{c.index}" for c in self.probe.cards() if runs_on(archs, c.capability)), "cpu")


def runs_on(archs: tuple[str, ...], capability: tuple[int, int]) -> bool:
    """Whether code for these architectures runs on a card: the same major and no higher minor, or PTX up to it.

    `sm_86` is machine code, `compute_86` is PTX, which the driver compiles for anything newer.
    """
    for arch in archs:
        kind, _, digits = arch.rstrip("a").partition("_")
        if not digits.isdigit():
            continue
        major, minor = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False


Look = Callable[[DoctorContext], Answer]


def guarded(fix: str) -> Callable[[Look], Look]:
    """For a check that makes torch do something: an exception is its finding, not a bug of the check.

    The fix is the catalogue's where the error is known, else `fix`.
    """

    def wrap(look: Look) -> Look:
        @functools.wraps(look)
        def guarded(context: DoctorContext) -> Answer:
            try:
                return look(context)
            except StepMissingError as error:
                return skipped(f"{error}: see the steps before")
            except Exception as error:
                return finding(f"{type(error).__name__}: {error}", fix)

        return guarded

    return wrap


def finding(text: str, fix: str) -> Answer:
    """A failure with an error's text, cut to what fits, and the catalogue's advice where it has some."""
    known = explain(text)
    line = " ".join(text.split())
    return failed(
        line if len(line) <= 300 else f"{line[:297]}...", f"{known[0].type[0]} ({known[0].id})" if known else fix
    )
