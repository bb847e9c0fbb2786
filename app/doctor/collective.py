"""An all-reduce between two processes: `python -m app.doctor.collective` prints its time, or fails.

It forks after importing torch, which costs one import instead of two. CUDA must not have started before the fork.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from app.hardware.nvml import NvmlError, driver_info

PROCESSES = 2
ELEMENTS = 1 << 20  # 4 MiB of float32


def run_rank(rank: int, backend: str, rendezvous: str) -> float:
    """Join the group, sum rank + 1 over all ranks twice, and return the seconds of the second all-reduce.

    `rendezvous`: a file that does not exist yet, through which the ranks meet. Raises RuntimeError if the sum is wrong.
    """
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    device = f"cuda:{rank}" if backend == "nccl" else "cpu"
    dist.init_process_group(
        backend, init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=40)
    )
    seconds = 0.0
    for _ in range(2):
        tensor = torch.full((ELEMENTS,), float(rank + 1), device=device)
        begin = time.perf_counter()
        dist.all_reduce(tensor)
        if device != "cpu":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        least, most = tensor.min().item(), tensor.max().item()
        if least != most or most != sum(range(1, PROCESSES + 1)):
            raise RuntimeError(f"rank {rank} got sums from {least} to {most}")
    dist.destroy_process_group()
    return seconds


def main() -> int:
    """Run both ranks, one in a forked child; return the exit code."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host name that does not resolve must not matter here
    gpus = _gpus()
    import torch

    backend = "nccl" if torch.version.cuda and gpus >= PROCESSES else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = str(Path(folder) / "rendezvous")
        child = os.fork()
        if child == 0:
            os._exit(_child(backend, rendezvous))
        try:
            seconds = run_rank(0, backend, rendezvous)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(child, 0)
    if status:
        return 1
    print(f"{backend}, {PROCESSES} processes: {ELEMENTS * 4 / 2**20:.0f} MiB added up in {seconds * 1e3:.1f} ms")
    return 0


def _gpus() -> int:
    """Return NVML's number of GPUs: torch's may start CUDA, and a process that has started CUDA cannot fork."""
    try:
        return driver_info().gpus
    except NvmlError:
        return 0


def _child(backend: str, rendezvous: str) -> int:
    """Run rank 1 and return the child's exit code. It must end there, without the parent's clean-up."""
    try:
        run_rank(1, backend, rendezvous)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
