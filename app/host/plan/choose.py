"""Choose the plan: variant, back end and GPU mode, from the machine and the user's request. Pure functions.

plan = choose(detect(World()), Request())
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import HostError, Problem
from app.host.plan.cards import VARIABLE, Choice, select, usable, wanted
from app.host.plan.drivers import driver_obstacle, driver_warnings
from app.host.plan.engines import engine_obstacle, toolkit_obstacle
from app.host.plan.obstacles import ca_obstacle, checkout_obstacle, platform_obstacle, space_obstacle
from app.host.probe.engine import Engine
from app.host.probe.gpus import Gpu
from app.host.probe.machine import Host
from app.host.variants import VARIANTS, Variant, slim, variant, variant_for

ASKED = "asked for"  # `Plan.why_variant` if the user named the variant
BACKENDS = ("docker", "native", "inside")


@dataclass(frozen=True)
class Request:
    """What the user asked for; None leaves the choice open.

    `gpus` is `all`, `none`, or nvidia-smi's numbers and ids: `0,2`. For `all`, CUDA_VISIBLE_DEVICES chooses if set.
    """

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

    def wants_gpus(self, env: Mapping[str, str]) -> bool:
        """Return whether the cards matter, so that the driver has to be asked for them."""
        without = self.variant in VARIANTS and VARIANTS[self.variant].cuda is None
        return not without and wanted(self.gpus, env)[0] != "none"


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

    choice, why_gpus = _cards(host, request, asked, problems, warnings)
    cards = choice.cards
    chosen, why_variant = _variant(asked, cards)
    backend, why_backend = _backend(host, request, cards, problems, warnings)
    if backend == "native" and (problem := checkout_obstacle(host)):
        problems.append(problem)
    if problem := ca_obstacle(host):
        # A build refuses to start without them; the native back end uses the system's.
        (problems if backend == "docker" else warnings).append(problem)
    if problems:
        raise HostError(*problems)
    if backend == "docker":
        slim(host.env)  # raises for a value that is neither yes nor no

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
        cards=cards,
        visible=_visible(host, request, choice),
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
    choice = select(host, request.gpus)
    return Plan(
        variant=variant(name),
        backend="inside",
        gpu_mode="direct" if choice.cards else "none",
        cards=choice.cards,
        visible=_visible(host, request, choice),
        why_variant="the variant of this image",
        why_backend="already in the container",
        why_gpus=_why_none(host, request) if not choice.cards else "",
    )


def _cards(
    host: Host, request: Request, asked: Variant | None, problems: list[Problem], warnings: list[Problem]
) -> tuple[Choice, str]:
    """Return the cards to use and, if there are none, why. Appends to `problems` and `warnings`."""
    none = Choice((), ())
    if not request.wants_gpus(host.env):
        without = asked is not None and asked.cuda is None and request.gpus != "none"
        return none, f"variant {request.variant} has no CUDA" if without else _why_none(host, request)
    if obstacle := driver_obstacle(host):
        problems.append(obstacle)
        return none, host.gpus.reason
    warnings.extend(driver_warnings(host))
    choice = select(host, request.gpus)
    if not choice.cards:
        return none, host.gpus.reason
    if obstacle := platform_obstacle(host, choice.cards):
        problems.append(obstacle)
        return none, ""
    return usable(host, choice, asked, problems, warnings), ""


def _why_none(host: Host, request: Request) -> str:
    text, named_by = wanted(request.gpus, host.env)
    if text != "none":
        return host.gpus.reason
    return f"{VARIABLE} hides every card" if named_by == VARIABLE else "none asked for"


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


def _visible(host: Host, request: Request, choice: Choice) -> str | None:
    """Return the value for CUDA_VISIBLE_DEVICES: only what the user named, or what is left of all cards."""
    if wanted(request.gpus, host.env)[0] == "none":
        return ""
    if not choice.cards or (not choice.named_by and len(choice.cards) == len(host.gpus.cards)):
        return None
    return ",".join(choice.names)
