"""Checks of the environment around torch: shared memory, caches, a second process, Jupyter, the model hub."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from app.doctor.context import DoctorContext, explained_failure
from app.host.checks.check import Answer, check, failed, passed, skipped, warned
from app.host.probe.machine import ROOT

MIB = 2**20
# A worker keeps two batches ready (prefetch_factor). A batch of 32 images of 3 x 224 x 224 float32 is 18.4 MiB.
PER_WORKER = 2 * 32 * 3 * 224 * 224 * 4
WORKERS = 4  # checked for if the user gives no number
CACHES = {  # variable -> the folder that is used if it is unset
    "WORKSPACE_CACHE": "~/.cache/gpu-workspace",
    "HF_HOME": "~/.cache/huggingface",
    "TORCHINDUCTOR_CACHE_DIR": "",  # a folder in the temporary one
    "TRITON_CACHE_DIR": "~/.triton/cache",
    "CUDA_CACHE_PATH": "~/.nv/ComputeCache",
}
HUB = "https://huggingface.co"


@check("shared memory", needs="/dev/shm", quick=True, source="https://github.com/pytorch/pytorch/issues/5040")
def shared_memory(context: DoctorContext) -> Answer:
    """/dev/shm has room for the batches that data loader workers hand over."""
    free = context.world.free_bytes("/dev/shm") if context.world.exists("/dev/shm") else None
    if free is None:
        return skipped("no /dev/shm on this system")
    workers = WORKERS if context.workers is None else context.workers
    detail = f"{free / MIB:.0f} MiB free in /dev/shm, {workers} workers want {workers * PER_WORKER / MIB:.0f} MiB"
    if free < workers * PER_WORKER:
        answer = warned if context.workers is None else failed  # the user may train without workers
        return answer(
            detail, "start the container with `--shm-size=8g` or `--ipc=host`, or train with `trainer.workers=0`"
        )
    return passed(detail)


@check("caches", quick=True, source="docker/entrypoint.sh")
def caches(context: DoctorContext) -> Answer:
    """This user can write to every cache folder, or to the folder in which it would be made."""
    places = {name: context.world.env.get(name) or default for name, default in CACHES.items()}
    for name, place in places.items():
        folder = Path(place or tempfile.gettempdir()).expanduser()
        while not folder.exists():
            folder = folder.parent
        try:
            with tempfile.TemporaryFile(dir=folder):  # a file without a name: nothing stays behind
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
    """Two processes sum a tensor, with NCCL if there are two GPUs, else with gloo."""
    return _run([sys.executable, "-m", "app.doctor.collective"], 55)


@check("Jupyter", needs="ipykernel", limit=40, source="https://jupyter-client.readthedocs.io/")
def jupyter(context: DoctorContext) -> Answer:
    """A Jupyter kernel starts, computes and stops."""
    if not context.world.glob(f"{context.site}/ipykernel"):
        return skipped("no ipykernel here: the runtime image has no Jupyter")
    return _run([sys.executable, "-m", "app.doctor.notebook"], 35)


def _run(argv: list[str], limit: float) -> Answer:
    """Run a command; return its last line if it succeeds, else the failure in its standard error."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=limit, env={**os.environ, "PYTHONPATH": path}
        )
    except subprocess.TimeoutExpired:
        return failed(f"no answer within {limit:g} s", "look at the machine's load, then try again")
    if done.returncode:
        return explained_failure(
            done.stderr.strip()[-2000:] or f"exit code {done.returncode}", "`app doctor explain` with the text"
        )
    return passed(done.stdout.strip().splitlines()[-1])


@check("hub", limit=8, source="https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables")
def hub(context: DoctorContext) -> Answer:
    """The model hub can be reached, or HF_HUB_OFFLINE says that it is not needed."""
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
        return passed(f"{address} answers; {have}")  # any status shows that it can be reached
    except OSError as error:
        reason = str(getattr(error, "reason", error))
        return warned(
            f"{address} cannot be reached ({reason}); {have}",
            "set HTTPS_PROXY or WORKSPACE_CA_BUNDLE, or HF_HUB_OFFLINE=1 if there is no network",
        )
