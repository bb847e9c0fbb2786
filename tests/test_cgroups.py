"""Limits of containers and batch jobs, as the kernel's files give them."""

from __future__ import annotations

import pytest

from app.cgroups import Limits, cgroup_limits
from app.host.probe.machine import detect
from tests.host.fake_world import FakeWorld

CGROUP = "/sys/fs/cgroup"


def test_a_machine_without_limits() -> None:
    files = {
        "/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-2.scope\n",
        f"{CGROUP}/user.slice/memory.max": "max\n",
        f"{CGROUP}/user.slice/cpu.max": "max 100000\n",
    }
    assert cgroup_limits(FakeWorld(files=files).read) == Limits()
    assert cgroup_limits(FakeWorld().read) == Limits()  # macOS


OF_A_JOB = {
    "/proc/self/cgroup": "0::/system.slice/job.scope\n",
    f"{CGROUP}/system.slice/memory.max": "3000000000\n",
    f"{CGROUP}/system.slice/job.scope/memory.max": "5000000000\n",
    f"{CGROUP}/system.slice/job.scope/cpu.max": "250000 100000\n",
}
# A container sees its own cgroup at the top, under the name that it has on the host.
OF_A_CONTAINER = {
    "/proc/self/cgroup": "5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/docker/0123\n",
    f"{CGROUP}/memory/memory.limit_in_bytes": "3221225472\n",
    f"{CGROUP}/cpu/cpu.cfs_quota_us": "150000\n",
    f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n",
}
IN_A_GROUP = {
    "/proc/self/cgroup": "3:cpu,cpuacct:/batch/7\n",
    f"{CGROUP}/cpu/batch/7/cpu.cfs_quota_us": "200000\n",
    f"{CGROUP}/cpu/batch/7/cpu.cfs_period_us": "100000\n",
}


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        (OF_A_JOB, Limits(3_000_000_000, 2.5)),  # the smallest on the way up
        (OF_A_CONTAINER, Limits(3_221_225_472, 1.5)),
        ({**OF_A_CONTAINER, f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1\n"}, Limits(3_221_225_472)),
        (IN_A_GROUP, Limits(cores=2.0)),
        ({"/proc/self/cgroup": "nonsense\n", f"{CGROUP}/cpu.max": "0 0\n"}, Limits()),
        ({"/proc/self/cgroup": "0::/x\n", f"{CGROUP}/x/cpu.max": "0 0\n"}, Limits()),
    ],
)
def test_the_limits_of_either_version(files: dict[str, str], limits: Limits) -> None:
    assert cgroup_limits(FakeWorld(files=files).read) == limits


def test_the_host_is_no_larger_than_its_limits() -> None:
    files = {
        "/proc/meminfo": "MemTotal:       25165824 kB\n",
        "/proc/self/cgroup": "0::/\n",
        f"{CGROUP}/memory.max": "3221225472\n",
        f"{CGROUP}/cpu.max": "200000 100000\n",
    }
    host = detect(FakeWorld(files=files, cores=8))
    assert (host.memory_bytes, host.memory_total, host.cores) == (3_221_225_472, 25165824 * 1024, 2)
    # Version 1 writes a number larger than any memory for no limit.
    unlimited = {**files, f"{CGROUP}/memory.max": "9223372036854771712\n", f"{CGROUP}/cpu.max": "1600000 100000\n"}
    host = detect(FakeWorld(files=unlimited, cores=8))
    assert (host.memory_bytes, host.cores) == (25165824 * 1024, 8)
