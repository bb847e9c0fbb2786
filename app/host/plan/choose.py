"""Choose the plan: variant, back end and GPU mode, from the machine and the user's request. Pure functions.

plan = choose(detect(World()), Request())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import HostError, Problem
from app.host.plan.obstacles import (
    card_obstacle,
    driver_obstacle,
    engine_obstacle,
    platform_obstacle,
    space_obstacle,
    toolkit_obstacle,
)
from app.host.probe.engine import Engine
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host
from app.host.variants import VARIANTS, Variant, variant, variant_for

ASKED = "asked for"  # `Plan.why_variant` if the user named the variant
BACKENDS = ("docker", "native", "inside")


@dataclass(frozen=True)
class Request:
    """What the user asked for; None leaves the choice open. `gpus` is `all`, `none` or nvidia-smi's indices: `0,2`."""

    variant: str | None = None
    backend: str | None = None
    gpus: str = "all"

    @staticmethod
    def of(env: Mapping[str, str], variant: str | None, backend: str | None, gpus: str | None) -> Request:
        """Return the request from the flags, else from WORKSPACE_VARIANT and WORKSPACE_BACKEND."""
        return Request(
            variant or env.get("WORKSPACE_VARIANT") or None,
            backend or env.get("WORKSPACE_BACKEND") or None,
            gpus or "all",
        )


@dataclass(frozen=True)
class Plan:
    """What will run on this machine, and why it was chosen.

    `gpu_mode` is how a command gets the cards: `none`; in a container by `runtime` (`--gpus`, the NVIDIA runtime) or
    `cdi`; natively or inside the container `direct`. `visible` is a value for CUDA_VISIBLE_DEVICES, None to leave it
    unchanged. `skip_gate` sets NVIDIA_DISABLE_REQUIRE, for drivers that run CUDA 11 but that NVIDIA's image refuses.
    `base_image` replaces the variant's base image unless it is empty.
    """

    variant: Variant
    backend: str
    gpu_mode: str
    cards: tuple[Gpu, ...] = ()
    visible: str | None = None
    skip_gate: bool = False
    base_image: str = ""
    why_variant: str = ""
    why_backend: str = ""
    why_gpus: str = ""
    warnings: tuple[Problem, ...] = ()

    @property
    def reasons(self) -> tuple[str, str, str]:
        return self.why_variant, self.why_backend, self.why_gpus


def choose(host: Host, request: Request) -> Plan:
    """Return the plan for this host and request.

    Raises:
        HostError: if the request cannot be met, with every obstacle.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    if request.backend is not None and request.backend not in BACKENDS:
        raise HostError(Problem(f"there is no back end {request.backend!r}", f"use one of: {', '.join(BACKENDS)}"))
    asked = variant(request.variant) if request.variant else None
    if host.inside or request.backend == "inside":
        return _inside(host, request)

    cards, why_gpus = _cards(host, request, asked, problems, warnings)
    chosen, why_variant = _variant(asked, cards)
    backend, why_backend = _backend(host, request, cards, problems, warnings)
    if problems:
        raise HostError(*problems)

    engine = host.engine
    gpu_mode, skip_gate = ("direct" if cards else "none"), False
    if backend == "docker" and isinstance(engine, Engine):
        gpu_mode = _container_mode(engine) if cards else "none"
        skip_gate = gpu_mode == "runtime" and _gate_refuses(host, chosen)
        if skip_gate:
            warnings.append(
                Problem(
                    f"NVIDIA's image refuses driver {host.gpus.driver}, though CUDA {chosen.cuda} runs on it",
                    "nothing to do: it is started with NVIDIA_DISABLE_REQUIRE=true, which driver 535 does not need",
                )
            )
    return Plan(
        variant=chosen,
        backend=backend,
        gpu_mode=gpu_mode,
        cards=tuple(cards),
        visible=_visible(host, request, cards),
        skip_gate=skip_gate,
        why_variant=why_variant,
        why_backend=why_backend,
        why_gpus=why_gpus,
        warnings=tuple(warnings),
    )


def space_for(host: Host, plan: Plan) -> Problem | None:
    """Return the problem if the disk has too little space for the plan's image or environment, else None.

    Call it only before one of them is made: it does not check whether they exist.
    """
    if plan.backend == "docker" and isinstance(host.engine, Engine):
        folder = f"Docker's folder {host.engine.root}"
        return space_obstacle(folder, host.docker_free, plan.variant.image_gb, f"the {plan.variant.name} image")
    if plan.backend == "native":
        return space_obstacle("this folder's disk", host.project_free, plan.variant.venv_gb, "the environment .venv")
    return None


def _inside(host: Host, request: Request) -> Plan:
    if not host.inside:
        raise HostError(Problem("this is not the workspace's container", "use `--backend docker` to start it"))
    if request.backend not in (None, "inside"):
        raise HostError(
            Problem(f"back end {request.backend!r} does not exist inside the container", "leave `--backend` out")
        )
    name = host.env.get("WORKSPACE_VARIANT", "")
    if request.variant and request.variant != name:
        raise HostError(
            Problem(f"this container is variant {name!r}, not {request.variant!r}", "leave `--variant` out")
        )
    cards = () if request.gpus == "none" else tuple(_selected(host, request.gpus))
    return Plan(
        variant=variant(name),
        backend="inside",
        gpu_mode="direct" if cards else "none",
        cards=cards,
        visible=_visible(host, request, cards),
        why_variant="the variant of this image",
        why_backend="already in the container",
        why_gpus="none asked for" if request.gpus == "none" else host.gpus.reason,
    )


def _cards(
    host: Host, request: Request, asked: Variant | None, problems: list[Problem], warnings: list[Problem]
) -> tuple[list[Gpu], str]:
    """Return the cards to use and, if there are none, why. Appends to `problems` and `warnings`."""
    if request.gpus == "none":
        return [], "none asked for"
    if asked is not None and asked.cuda is None:
        return [], f"variant {asked.name} has no CUDA"
    if obstacle := driver_obstacle(host):
        problems.append(obstacle)
        return [], host.gpus.reason
    cards = _selected(host, request.gpus)
    if not cards:
        if host.gpus.pci:
            warnings.append(
                Problem(host.gpus.reason, "install NVIDIA's driver (535 or later is a good choice) to train on the GPU")
            )
        return [], host.gpus.reason
    if obstacle := platform_obstacle(host, cards):
        problems.append(obstacle)
        return [], ""
    unfit = {card.index: obstacle for card in cards if (obstacle := card_obstacle(card, asked))}
    fitting = [card for card in cards if card.index not in unfit]
    if unfit and (not fitting or request.gpus != "all"):
        problems.extend(unfit.values())
        return [], ""
    warnings.extend(
        Problem(f"{o.what}; it is left out", "nothing to do, or select cards: `--gpus 0`") for o in unfit.values()
    )
    warnings.extend(
        Problem(
            f"the compute capability of GPU {card.index}, {card.name}, is not known",
            "run `app doctor` inside to check whether kernels run on it",
        )
        for card in fitting
        if card.capability is None
    )
    return fitting, ""


def _selected(host: Host, gpus: str) -> list[Gpu]:
    cards = list(host.gpus.cards)
    if gpus == "all":
        return cards
    indices = [part.strip() for part in gpus.split(",")]
    by_index = {str(card.index): card for card in cards}
    missing = [index for index in indices if index not in by_index]
    if missing:
        present = f"there are {', '.join(by_index)}" if by_index else f"there is none: {host.gpus.reason}"
        what = f"no GPU {', '.join(missing)}: {present}"
        raise HostError(Problem(what, "give `all`, `none` or numbers as nvidia-smi lists them: `0,1`"))
    return [by_index[index] for index in indices]


def _variant(asked: Variant | None, cards: Sequence[Gpu]) -> tuple[Variant, str]:
    if asked is not None:
        return asked, ASKED
    if not cards:
        return VARIANTS["cpu"], "no GPU to use"
    found = variant_for(card.capability for card in cards if card.capability is not None) or VARIANTS["cpu"]
    sms = sorted({card.sm for card in cards})
    codes = sorted({code for card in cards if card.capability and (code := found.kernel_for(card.capability))})
    same = "" if sms == codes or not codes else f" with {', '.join(codes)} code"
    return found, f"runs {', '.join(sms)}{same}"


def _backend(
    host: Host, request: Request, cards: Sequence[Gpu], problems: list[Problem], warnings: list[Problem]
) -> tuple[str, str]:
    if obstacle := platform_obstacle(host, ()):
        problems.append(obstacle)
        return "native", ""
    if request.backend == "native":
        return "native", "asked for"
    obstacles = [o for o in (engine_obstacle(host), toolkit_obstacle(host, cards)) if o]
    emulated = not host.x86_linux and host.machine not in ("x86_64", "AMD64")
    if request.backend == "docker":
        problems.extend(obstacles)
        if emulated:
            warnings.append(
                Problem(f"the images are x86_64 and run emulated on {host.machine}", "use `--backend native` for speed")
            )
        return "docker", "asked for"
    if emulated:
        return "native", f"the images are x86_64 and would run emulated on {host.machine}"
    if obstacles:
        warnings.extend(Problem(f"{o.what}; the native back end is used, in .venv", o.fix) for o in obstacles)
        return "native", "Docker cannot be used"
    return "docker", "an engine answers"


def _container_mode(engine: Engine) -> str:
    """Return `cdi` if `--gpus` is not available or is known to lose the cards, else `runtime`.

    With the systemd cgroup driver a `systemctl daemon-reload` removes the devices that the `--gpus` hook added to a
    running container ("Failed to initialize NVML: Unknown Error"), and a rootless engine's hook may not set cgroups
    at all. With CDI the devices are part of the container's configuration.
    """
    hook_is_fragile = engine.cgroup_driver == "systemd" or engine.rootless
    return "cdi" if engine.cdi_all and (hook_is_fragile or not engine.nvidia_runtime) else "runtime"


def _gate_refuses(host: Host, chosen: Variant) -> bool:
    return bool(
        chosen.drivers and host.gpus.driver and not host.wsl and not chosen.drivers.passes_gate(host.gpus.driver)
    )


def _visible(host: Host, request: Request, cards: Sequence[Gpu]) -> str | None:
    if request.gpus == "none":
        return ""
    if len(cards) == len(host.gpus.cards) and request.gpus == "all":
        return host.env.get("CUDA_VISIBLE_DEVICES")
    return ",".join(str(card.index) for card in cards) if cards else None
