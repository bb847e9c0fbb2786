"""Pre-flight checks of the GPU: driver, cards, and how a container gets them. All read recorded facts only."""

from __future__ import annotations

from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.checks.context import CheckContext
from app.host.plan.obstacles import card_obstacle, driver_obstacle, platform_obstacle, toolkit_obstacle
from app.host.probe.engine import Engine, NoEngine
from app.host.variants import GPU_DEFAULT, VARIANTS, Variant

CUDA_VARIANTS = tuple(v for v in VARIANTS.values() if v.drivers)
COMPATIBILITY = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"
# The last driver branch for cards below sm_75; R590 starts at Turing (NVIDIA's Unix driver deprecation schedule).
LAST_BRANCH_BEFORE_TURING = 580


@check("driver", needs="an NVIDIA card", source="https://github.com/NVIDIA/ubuntu-packaging-nvidia-driver/issues/3")
def driver(context: CheckContext) -> Answer:
    """The driver is there, answers, and is the one whose kernel module is loaded."""
    gpus = context.host.gpus
    if not gpus.cards:
        if obstacle := driver_obstacle(context.host):
            return context.judge(obstacle)
        if gpus.pci:
            return warned(gpus.reason, "install NVIDIA's driver (535 or later is a good choice) to use the card")
        return skipped(gpus.reason)
    if gpus.kernel_driver and gpus.driver and not context.host.wsl and gpus.kernel_driver != gpus.driver:
        return warned(
            f"the libraries are {gpus.driver} and the loaded kernel module is {gpus.kernel_driver}",
            "reboot: new GPU programs will fail with `Driver/library version mismatch`",
        )
    return passed(f"{gpus.driver}")


@check("driver-version", needs="a driver", source=COMPATIBILITY)
def driver_version(context: CheckContext) -> Answer:
    """The driver against each variant's floor (minor-version compatibility) and native version."""
    number = context.host.gpus.driver
    if not number:
        return skipped("no driver")
    if obstacle := driver_obstacle(context.host):
        return context.judge(obstacle)
    wsl = context.host.wsl
    said = []
    for v in CUDA_VARIANTS:
        assert v.drivers is not None
        native = v.drivers.native_windows if wsl else v.drivers.native
        floor = v.drivers.floor_windows if wsl else v.drivers.floor
        how = (
            "native" if v.drivers.is_native(number, wsl=wsl) else f"by compatibility from {floor} on (native: {native})"
        )
        said.append(f"{v.name} {how if v.drivers.runs(number, wsl=wsl) else f'needs {floor}'}")
    return passed(f"{number}: {', '.join(said)}")


@check(
    "driver-gate",
    needs="a driver and an engine",
    source="https://github.com/NVIDIA/nvidia-container-toolkit/issues/152",
)
def driver_gate(context: CheckContext) -> Answer:
    """Whether the base image's NVIDIA_REQUIRE_CUDA lets this driver in: since November 2023 not R450, R510 and R515."""
    host = context.host
    number = host.gpus.driver
    if not number:
        return skipped("no driver")
    if isinstance(host.engine, NoEngine):
        return skipped(host.engine.absence.value)
    if host.wsl:
        return skipped("the gate reads the driver of Windows, which is always a new branch")
    v = context.plan.variant if context.plan else _requested_variant(context) or VARIANTS[GPU_DEFAULT]
    if v.drivers is None or not v.drivers.runs(number):
        return skipped(f"variant {v.name} does not use driver {number}")
    if v.drivers.passes_gate(number):
        return passed(f"the {v.name} image lets {number} in")
    if context.plan and context.plan.gpu_mode == "cdi":
        return passed(f"the {v.name} image would refuse {number}, but is not asked through CDI")
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
    """Every card's compute capability against each variant's list of architectures."""
    gpus = context.host.gpus
    if not gpus.cards:
        return skipped(gpus.reason)
    if obstacle := platform_obstacle(context.host, gpus.cards):
        return context.judge(obstacle)
    requested = _requested_variant(context)
    needed = requested if requested and requested.cuda else None  # the CPU variant runs next to any card
    obstacles = [o for card in gpus.cards if (o := card_obstacle(card, needed))]
    if obstacles:
        answers = [context.judge(o) for o in obstacles]
        worst = failed if any(a.status == "fail" for a in answers) else warned
        return worst("; ".join(dict.fromkeys(a.detail for a in answers)), answers[0].fix)
    unknown = [card.name for card in gpus.cards if card.capability is None]
    if unknown:
        return warned(
            f"the compute capability of {', '.join(unknown)} is not known",
            "`app doctor` inside tells whether kernels run on it",
        )
    said: dict[str, int] = {}
    for card in gpus.cards:
        assert card.capability is not None
        runs = [f"{v.name} runs {code}" for v in CUDA_VARIANTS if (code := v.kernel_for(card.capability))]
        line = f"{card.name} ({card.sm}): {', '.join(runs)}"
        if card.capability < (7, 5):
            line += f"; keep the driver at branch {LAST_BRANCH_BEFORE_TURING} or older"
        said[line] = said.get(line, 0) + 1
    return passed("; ".join(f"{n} x {line}" if n > 1 else line for line, n in said.items()))


@check(
    "gpu-toolkit",
    needs="an NVIDIA card and an engine",
    source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html",
)
def gpu_toolkit(context: CheckContext) -> Answer:
    """How Docker can hand a card to a container: the NVIDIA runtime, CDI, or not at all."""
    host = context.host
    if not host.gpus.cards:
        return skipped("no card to hand over")
    if isinstance(host.engine, NoEngine):
        return skipped(host.engine.absence.value)
    if obstacle := toolkit_obstacle(host, host.gpus.cards):
        return context.judge(obstacle)
    ways = ["the NVIDIA runtime"] if host.engine.nvidia_runtime else []
    ways += [f"CDI ({', '.join(host.engine.cdi_dirs)})"] if host.engine.cdi_all else []
    return passed(" and ".join(ways))


@check(
    "cgroups",
    needs="an NVIDIA card and an engine",
    source="https://github.com/NVIDIA/nvidia-docker/issues/1730",
)
def cgroups(context: CheckContext) -> Answer:
    """Whether a running container loses its GPU when systemd re-reads its units (`systemctl daemon-reload`)."""
    host = context.host
    if not host.gpus.cards or not isinstance(host.engine, Engine):
        return skipped("no card to hand over" if not host.gpus.cards else "no engine")
    if not host.engine.nvidia_runtime and not host.engine.cdi_all:
        return skipped("no way to hand a card over")
    driver_name = f"{host.engine.cgroup_driver or 'unknown'} driver, cgroup v{host.engine.cgroup_version or '?'}"
    if host.engine.cdi_all:
        return passed(f"{driver_name}; the cards go through CDI, which keeps them")
    if host.engine.cgroup_driver == "systemd":
        return warned(
            f"{driver_name}: `systemctl daemon-reload`, as package updates do, takes the GPU from running containers",
            '`sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, and "features": {"cdi": true} in '
            "/etc/docker/daemon.json for Docker before 28; the workspace then uses CDI",
        )
    return passed(driver_name)


CHECKS = (driver, driver_version, driver_gate, cards, gpu_toolkit, cgroups)
