"""Two processes and one all-reduce: `python -m app.doctor.collective` prints what it saw, or fails.

It forks after importing torch, which costs one import instead of two; CUDA is first used in the children.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from app.doctor.nvidia import Nvidia

PROCESSES = 2
NUMBERS = 1 << 20  # 4 MiB of float32


def rank_work(rank: int, backend: str, meeting: str) -> float:
    """Join the group, add up rank + 1 over all ranks, and return the seconds of the second all-reduce."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    device = f"cuda:{rank}" if backend == "nccl" else "cpu"
    dist.init_process_group(
        backend, init_method=f"file://{meeting}", rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=40)
    )
    seconds = 0.0
    for _ in range(2):
        tensor = torch.full((NUMBERS,), float(rank + 1), device=device)
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
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # a host name that does not resolve must not matter here
    # NVML's count: torch's may start CUDA, and a process that has started it cannot fork.
    cards = Nvidia().nvml().cards
    import torch

    backend = "nccl" if torch.version.cuda and cards >= PROCESSES else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        child = os.fork()
        if child == 0:
            os._exit(_second(backend, meeting))
        try:
            seconds = rank_work(0, backend, meeting)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise
        finally:
            _, status = os.waitpid(child, 0)
    if status:
        return 1
    print(f"{backend}, {PROCESSES} processes: {NUMBERS * 4 / 2**20:.0f} MiB added up in {seconds * 1e3:.1f} ms")
    return 0


def _second(backend: str, meeting: str) -> int:
    """The child's work and exit code; nothing of the parent's may run after it."""
    try:
        rank_work(1, backend, meeting)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
