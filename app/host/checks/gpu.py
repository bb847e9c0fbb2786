"""Pre-flight checks of the GPU: driver, cards, and how a container gets them. They read the detected facts only."""

from __future__ import annotations

from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.checks.context import CheckContext
from app.host.plan.cards import select, split_warnings
from app.host.plan.drivers import card_obstacle, driver_obstacle, driver_warnings
from app.host.plan.engines import toolkit_obstacle
from app.host.plan.obstacles import platform_obstacle
from app.host.probe.engine import Engine, NoEngine
from app.host.variants import GPU_DEFAULT, VARIANTS, Variant

CUDA_VARIANTS = tuple(v for v in VARIANTS.values() if v.drivers)
COMPATIBILITY = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
# The last driver branch for cards below sm_75; R590 starts at Turing (NVIDIA's Unix driver deprecation schedule).
LAST_BRANCH_BEFORE_TURING = 580


@check("driver", needs="an NVIDIA card", source="https://github.com/NVIDIA/ubuntu-packaging-nvidia-driver/issues/3")
def driver(context: CheckContext) -> Answer:
    """The driver is installed, answers, and its kernel module is the one that is loaded."""
    gpus = context.host.gpus
    if not gpus.cards and (obstacle := driver_obstacle(context.host)):
        return context.answer_to(obstacle)
    if said := driver_warnings(context.host):
        return warned("; ".join(w.what for w in said), "; ".join(dict.fromkeys(w.fix for w in said)))
    if not gpus.cards:
        return skipped(gpus.reason)
    if gpus.kernel_driver and gpus.driver and not context.host.wsl and gpus.kernel_driver != gpus.driver:
        return warned(
            f"the libraries are {gpus.driver} and the loaded kernel module is {gpus.kernel_driver}",
            "reboot: new GPU programs fail with `Driver/library version mismatch`",
        )
    return passed(f"{gpus.driver}")


@check("driver-version", needs="a driver", source=COMPATIBILITY)
def driver_version(context: CheckContext) -> Answer:
    """The driver is new enough for each variant: its lowest (minor-version compatibility) and native versions."""
    number = context.host.gpus.driver
    if not number:
        return skipped("no driver")
    if obstacle := driver_obstacle(context.host):
        return context.answer_to(obstacle)
    wsl = context.host.wsl
    details = []
    for v in CUDA_VARIANTS:
        assert v.drivers is not None
        native = v.drivers.native_windows if wsl else v.drivers.native
        floor = v.drivers.floor_windows if wsl else v.drivers.floor
        if not v.drivers.runs(number, wsl=wsl):
            details.append(f"{v.name} needs {floor}")
        elif v.drivers.is_native(number, wsl=wsl):
            details.append(f"{v.name} native")
        else:
            details.append(f"{v.name} by compatibility from {floor} on (native: {native})")
    return passed(f"{number}: {', '.join(details)}")


@check(
    "driver-gate",
    needs="a driver and an engine",
    source="https://github.com/NVIDIA/nvidia-container-toolkit/issues/152",
)
def driver_gate(context: CheckContext) -> Answer:
    """The base image's NVIDIA_REQUIRE_CUDA accepts this driver; since November 2023 it refuses R450, R510 and R515."""
    host = context.host
    number = host.gpus.driver
    if not number:
        return skipped("no driver")
    if isinstance(host.engine, NoEngine):
        return skipped(host.engine.absence.value)
    if host.wsl:
        return skipped("under WSL the image sees the Windows driver, which is always of a new branch")
    v = context.plan.variant if context.plan else _requested_variant(context) or VARIANTS[GPU_DEFAULT]
    if v.drivers is None or not v.drivers.runs(number):
        return skipped(f"variant {v.name} does not use driver {number}")
    if v.drivers.passes_gate(number):
        return passed(f"the {v.name} image accepts driver {number}")
    if context.plan and context.plan.gpu_mode == "cdi":
        return passed(f"the {v.name} image would refuse {number}, but CDI does not check it")
    return warned(
        f"the {v.name} image refuses driver {number} (NVIDIA_REQUIRE_CUDA), though CUDA {v.cuda} runs on it "
        f"from {v.drivers.floor} on",
        "`invoke` starts it with NVIDIA_DISABLE_REQUIRE=true; by hand: docker run -e NVIDIA_DISABLE_REQUIRE=true ...",
    )


def _requested_variant(context: CheckContext) -> Variant | None:
    """Return the variant that the user named; None if they named none, or one that does not exist."""
    return VARIANTS.get(context.request.variant or "")


@check("cards", needs="an NVIDIA card", source="https://docs.nvidia.com/cuda/ada-compatibility-guide/")
def cards(context: CheckContext) -> Answer:
    """Every card's compute capability has code in a variant's list of architectures."""
    gpus = context.host.gpus
    if not gpus.cards:
        return skipped(gpus.reason)
    if obstacle := platform_obstacle(context.host, gpus.cards):
        return context.answer_to(obstacle)
    requested = _requested_variant(context)
    needed = requested if requested and requested.cuda else None  # the CPU variant runs next to any card
    obstacles = [o for card in gpus.cards if (o := card_obstacle(card, needed))]
    if obstacles:
        answers = [context.answer_to(o) for o in obstacles]
        worst = failed if any(a.status == "fail" for a in answers) else warned
        return worst("; ".join(dict.fromkeys(a.detail for a in answers)), answers[0].fix)
    if context.plan and context.plan.cards and (split := split_warnings(select(context.host, context.request.gpus))):
        return warned("; ".join(s.what for s in split), split[0].fix)
    unknown = [card.name for card in gpus.cards if card.capability is None]
    if unknown:
        return warned(
            f"the compute capability of {', '.join(unknown)} is not known",
            "run `app doctor` inside to check whether kernels run on it",
        )
    counts: dict[str, int] = {}
    for card in gpus.cards:
        assert card.capability is not None
        runs = [f"{v.name} runs {code}" for v in CUDA_VARIANTS if (code := v.kernel_for(card.capability))]
        line = f"{card.name} ({card.sm}): {', '.join(runs)}"
        if card.capability < (7, 5):
            line += f"; keep the driver at branch {LAST_BRANCH_BEFORE_TURING} or older"
        counts[line] = counts.get(line, 0) + 1
    return passed("; ".join(f"{n} x {line}" if n > 1 else line for line, n in counts.items()))


@check(
    "gpu-toolkit",
    needs="an NVIDIA card and an engine",
    source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html",
)
def gpu_toolkit(context: CheckContext) -> Answer:
    """Docker can give a card to a container, through the NVIDIA runtime or CDI."""
    host = context.host
    if not host.gpus.cards:
        return skipped("no card")
    if isinstance(host.engine, NoEngine):
        return skipped(host.engine.absence.value)
    if obstacle := toolkit_obstacle(host, host.gpus.cards):
        return context.answer_to(obstacle)
    if not host.engine.nvidia_runtime and not host.engine.cdi_all:
        return passed("Docker Desktop gives the GPU of WSL 2 to containers")
    ways = ["the NVIDIA runtime"] if host.engine.nvidia_runtime else []
    ways += [f"CDI ({', '.join(host.engine.cdi_dirs)})"] if host.engine.cdi_all else []
    return passed(" and ".join(ways))


@check(
    "cgroups",
    needs="an NVIDIA card and an engine",
    source="https://github.com/NVIDIA/nvidia-docker/issues/1730",
)
def cgroups(context: CheckContext) -> Answer:
    """A running container does not lose its GPU when systemd reloads its units (`systemctl daemon-reload`)."""
    host = context.host
    if not host.gpus.cards or not isinstance(host.engine, Engine):
        return skipped("no card" if not host.gpus.cards else "no engine")
    if not host.engine.nvidia_runtime and not host.engine.cdi_all:
        return skipped("Docker cannot give a card to a container")
    driver_name = f"{host.engine.cgroup_driver or 'unknown'} driver, cgroup v{host.engine.cgroup_version or '?'}"
    if host.engine.cdi_all:
        return passed(f"{driver_name}; CDI is used, and does not lose the cards")
    if host.engine.cgroup_driver == "systemd":
        return warned(
            f"{driver_name}: `systemctl daemon-reload`, run by package updates, removes the GPU of running containers",
            '`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, and "features": {"cdi": true} in '
            "/etc/docker/daemon.json for Docker before 28; the workspace then uses CDI",
        )
    return passed(driver_name)


CHECKS = (driver, driver_version, driver_gate, cards, gpu_toolkit, cgroups)
