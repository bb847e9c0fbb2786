"""Pre-flight checks of the Docker engine and its plugins."""

from __future__ import annotations

import shlex
from pathlib import Path

from app.host.checks.check import Answer, check, passed, skipped, warned
from app.host.checks.context import CheckContext
from app.host.plan.engines import engine_obstacle, plugin_obstacle
from app.host.probe.engine import Absence, Engine, NoEngine
from app.host.probe.machine import ROOT
from app.host.probe.products import PODMAN

INSTALL = "https://docs.docker.com/engine/install/"


@check("docker", needs="the docker command", source=INSTALL)
def docker(context: CheckContext) -> Answer:
    """A Docker engine answers and is new enough to build the image."""
    engine = context.host.engine
    if isinstance(engine, Engine) and not (engine.too_old or engine.remote or engine.product == PODMAN):
        place = " in a virtual machine" if engine.in_virtual_machine else ""
        return passed(f"Docker {engine.version}{place}, {engine.storage_driver or 'unknown'} in {engine.root}")
    obstacle = engine_obstacle(context.host)
    assert obstacle is not None  # every missing, too old or distant engine is an obstacle
    return context.answer_to(obstacle)


@check("socket", needs="a running engine", source="https://docs.docker.com/engine/install/linux-postinstall/")
def socket(context: CheckContext) -> Answer:
    """This user has permission to use the engine's socket."""
    engine = context.host.engine
    if isinstance(engine, Engine):
        return passed("this user may use the engine" + (", which runs without root" if engine.rootless else ""))
    obstacle = engine_obstacle(context.host)
    if engine.absence is Absence.NO_PERMISSION and obstacle:
        return context.answer_to(obstacle)
    return skipped(engine.absence.value)


@check("engine-kind", needs="a running engine", source="https://github.com/NVIDIA/nvidia-docker/issues/1642")
def engine_kind(context: CheckContext) -> Answer:
    """The engine has access to the machine's folders and GPU, which snap and remote engines lack."""
    engine = context.host.engine
    if isinstance(engine, NoEngine):
        return skipped(engine.absence.value)
    if engine.snap:
        return warned(
            "Docker from snap has access to only a part of the disk, and to no GPU",
            f"`sudo snap remove docker`, then Docker's own packages: {INSTALL}",
        )
    if engine.remote and (obstacle := engine_obstacle(context.host)):
        return context.answer_to(obstacle)
    if engine.rootless:
        return passed("rootless: it reads ~/.config/docker/daemon.json")
    return passed(engine.product)


@check("buildx", needs="a running engine", source="https://docs.docker.com/build/buildx/install/")
def buildx(context: CheckContext) -> Answer:
    """The buildx plugin starts and is new enough for the Dockerfile's cache mounts and secrets."""
    return _plugin(context, "buildx")


@check("compose", needs="a running engine", source="https://docs.docker.com/compose/install/linux/")
def compose(context: CheckContext) -> Answer:
    """The compose plugin, version 2, starts and is new enough to build with secrets."""
    return _plugin(context, "compose")


def _plugin(context: CheckContext, name: str) -> Answer:
    engine = context.host.engine
    if isinstance(engine, NoEngine):
        return skipped(engine.absence.value)
    if obstacle := plugin_obstacle(engine, name):
        return context.answer_to(obstacle)
    return passed({"buildx": engine.buildx, "compose": engine.compose}[name] or "")


@check(
    "selinux",
    needs="an engine that confines containers",
    source="https://docs.docker.com/engine/storage/bind-mounts/#configure-the-selinux-label",
)
def selinux(context: CheckContext) -> Answer:
    """A container may read the mounted checkout, if the engine confines containers by SELinux."""
    engine = context.host.engine
    if not isinstance(engine, Engine) or not engine.selinux:
        return skipped("the engine does not confine containers by SELinux")
    if context.plan is not None and context.plan.backend != "docker":
        return skipped("Docker is not used")
    if not context.host.selinux:
        return passed("SELinux is not enforcing")
    label = context.world.run(["stat", "--format=%C", str(ROOT)]).out.strip()
    if "container_file_t" in label:
        return passed(f"the checkout is labelled for containers: {label}")
    return warned(
        "SELinux keeps containers from the mounted checkout (`Permission denied`) until it is labelled for them"
        + (f"; its label is {label}" if label else ""),
        f"`chcon -R -t container_file_t {ROOT}`, or add `--backend native`",
    )


@check("network-disk", needs="a checkout on NFS", source="exports(5): root_squash")
def network_disk(context: CheckContext) -> Answer:
    """The engine may mount a checkout that is on NFS, where the server takes root for nobody (root_squash)."""
    engine = context.host.engine
    if not isinstance(engine, Engine) or context.plan is None or context.plan.backend != "docker":
        return skipped("Docker is not used")
    mount = nfs_mount(context.world.read("/proc/mounts") or "", ROOT)
    if mount is None:
        return skipped("the checkout is not on NFS")
    if engine.rootless:
        return passed(f"{mount} is on NFS, and the engine is this user")
    folders = [str(folder) for folder in (ROOT, *ROOT.parents) if folder.is_relative_to(mount)]
    closed = [folder for folder in folders if not context.world.open_to_all(folder)]
    if not closed:
        return passed(f"{mount} is on NFS, and every user may enter the checkout")
    return warned(
        f"{closed[-1]} is on NFS and closed to other users: a server that squashes root keeps Docker out",
        f"`chmod o+x {shlex.join(reversed(closed))}`, a checkout on a local disk, or add `--backend native`",
    )


def nfs_mount(mounts: str, folder: Path) -> str | None:
    """Return the mount point of the file system that a folder is on if that is NFS, else None. `mounts`: proc(5)."""
    rows = [row.split() for row in mounts.splitlines() if len(row.split()) > 2]
    around = [row for row in rows if folder.is_relative_to(row[1].replace("\\040", " "))]
    nearest = max(around, key=lambda row: len(row[1]), default=None)
    return nearest[1].replace("\\040", " ") if nearest and nearest[2].startswith("nfs") else None


CHECKS = (docker, socket, engine_kind, buildx, compose, selinux, network_disk)
