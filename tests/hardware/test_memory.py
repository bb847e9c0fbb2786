"""What fits into memory, and how a size is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cgroups import Limits
from app.hardware import memory


def test_the_memory_is_that_of_the_machine_or_the_containers_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cgroup_limits", Limits)
    whole = memory.memory_bytes()
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert whole == 1024 * int(line.split()[1])
    for limit, expected in ((2**62, whole), (1_000_000, 1_000_000)):
        monkeypatch.setattr(memory, "cgroup_limits", lambda limit=limit: Limits(memory_bytes=limit))
        assert memory.memory_bytes() == expected


def test_what_has_no_room_is_said_with_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 16 * 10**9)
    assert memory.no_room("it", 16 * 10**9, "less") is None
    problem = memory.no_room("it", 4_800_000_000_000, "less")
    assert problem is not None
    assert problem.what == "it: 4.8 TB, and this machine has 16.0 GB of memory"


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (181_000_000_000, "181 GB"), (10**24, "1,000,000 EB")],
)
def test_a_size_is_readable(size: int, expected: str) -> None:
    assert memory.readable(size) == expected
