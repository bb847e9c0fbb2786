"""What stands around torch: shared memory, caches, a second process, Jupyter, the hub."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from app.doctor.context import DoctorContext, finding
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.probe.machine import ROOT

MIB = 2**20
# A worker keeps two batches ready (prefetch_factor). Thirty-two images of 3 x 224 x 224 float32 are 18.4 MiB.
PER_WORKER = 2 * 32 * 3 * 224 * 224 * 4
WORKERS = 4  # what is looked at where the user names no number
CACHES = {  # variable -> folder where it is unset
    "WORKSPACE_CACHE": "~/.cache/gpu-workspace",
    "HF_HOME": "~/.cache/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": "",  # torch takes a folder under the temporary one
    "TRITON_CACHE_DIR": "~/.triton/cache",
    "CUDA_CACHE_PATH": "~/.nv/ComputeCache",
}
HUB = "https://huggingface.co"


@check("shared memory", needs="/dev/shm", quick=True, source="https://github.com/pytorch/pytorch/issues/5040")
def shared_memory(context: DoctorContext) -> Answer:
    """/dev/shm has room for what data loader workers hand over."""
    free = context.world.free_bytes("/dev/shm") if context.world.exists("/dev/shm") else None
    if free is None:
        return skipped("no /dev/shm on this system")
    workers = WORKERS if context.workers is None else context.workers
    said = f"{free / MIB:.0f} MiB free in /dev/shm, {workers} workers want {workers * PER_WORKER / MIB:.0f} MiB"
    if free < workers * PER_WORKER:
        judge = warned if context.workers is None else failed  # nobody said that there would be workers
        return judge(
            said, "start the container with `--shm-size=8g` or `--ipc=host`, or train with `trainer.workers=0`"
        )
    return passed(said)


@check("caches", quick=True, source="docker/entrypoint.sh")
def caches(context: DoctorContext) -> Answer:
    """Every cache folder, or the folder where it would be made, can be written by this user."""
    places = {name: context.world.env.get(name) or default for name, default in CACHES.items()}
    for name, place in places.items():
        folder = Path(place or tempfile.gettempdir()).expanduser()
        while not folder.exists():
            folder = folder.parent
        try:
            with tempfile.TemporaryFile(dir=folder):  # has no name, leaves nothing
                pass
        except OSError as error:
            return failed(
                f"{name}: {folder} cannot be written by user {_user()}: {error.strerror}",
                f"`sudo chown -R {_user()} {folder}`, or set {name} to a folder of yours",
            )
    return passed(f"{len(places)} of {len(places)} writable: {', '.join(p for p in places.values() if p)}")


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "this"


@check("all-reduce", limit=60, source="https://pytorch.org/docs/2.0/distributed.html")
def all_reduce(context: DoctorContext) -> Answer:
    """Two processes add up a tensor, through NCCL on two GPUs and gloo elsewhere."""
    return _process([sys.executable, "-m", "app.doctor.collective"], 55)


@check("Jupyter", needs="ipykernel", limit=40, source="https://jupyter-client.readthedocs.io/")
def jupyter(context: DoctorContext) -> Answer:
    """A Jupyter kernel starts, computes and ends."""
    if not context.world.glob(f"{context.site}/ipykernel"):
        return skipped("no ipykernel here: the runtime image has no Jupyter")
    return _process([sys.executable, "-m", "app.doctor.notebook"], 35)


def _process(argv: list[str], limit: float) -> Answer:
    """Run a part of the doctor as a process of its own: its last line is the detail, its errors are the finding."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=limit, env={**os.environ, "PYTHONPATH": path}
        )
    except subprocess.TimeoutExpired:
        return failed(f"no answer within {limit:g} s", "look at the machine's load, then try again")
    if done.returncode:
        return finding(
            done.stderr.strip()[-2000:] or f"exit code {done.returncode}", "`app doctor explain` with the text"
        )
    return passed(done.stdout.strip().splitlines()[-1])


@check("hub", limit=8, source="https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables")
def hub(context: DoctorContext) -> Answer:
    """The model hub can be reached, or is not wanted."""
    env = context.world.env
    home = Path(env.get("HF_HOME") or CACHES["HF_HOME"]).expanduser()
    cached = len(context.world.glob(f"{home}/hub/models--*")) + len(context.world.glob(f"{home}/hub/datasets--*"))
    have = f"{cached} models and data sets in {home}"
    if env.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return passed(f"offline, as HF_HUB_OFFLINE says; {have}")
    address = env.get("HF_ENDPOINT") or HUB
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=4):
            return passed(f"{address} answers; {have}")
    except urllib.error.HTTPError:
        return passed(f"{address} answers; {have}")  # any answer is one
    except OSError as error:
        reason = str(getattr(error, "reason", error))
        return warned(
            f"{address} cannot be reached ({reason}); {have}",
            "set HTTPS_PROXY or WORKSPACE_CA_BUNDLE, or HF_HUB_OFFLINE=1 where there is no network",
        )


CHECKS = (shared_memory, caches, all_reduce, jupyter, hub)
