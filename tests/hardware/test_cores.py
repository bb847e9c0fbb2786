"""The cores that other programs leave free, and the limit of a control group."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.hardware.cores import CoreUse, busy_seconds, free_cores
from app.hardware.cpu import cgroup_cores, usable_cores

# user nice system idle iowait irq softirq steal guest guest_nice: the columns of proc_stat(5)
STAT = """\
cpu  900 9 9 9 9 9 9 9 0 0
cpu0 100 10 20 5000 700 3 4 5 0 0
cpu1 300 0 0 1 1 0 0 0 0 0
cpu11 7 0 0 0 0 0 0 0 0 0
intr 1
"""


def test_busy_time_is_that_of_the_given_cores_without_idling() -> None:
    assert busy_seconds(STAT, {0}, 100) == 1.42  # 100 + 10 + 20 + 3 + 4 + 5 hundredths
    assert busy_seconds(STAT, {0, 1}, 100) == 4.42
    assert busy_seconds("", {0}, 100) == 0


def test_others_are_what_this_process_did_not_do() -> None:
    before, after = CoreUse(at=10, busy=100, own=5), CoreUse(at=12, busy=103.5, own=7)
    assert before.others_until(after) == 0.75  # 3.5 s of work, 2 of them ours, in 2 s


@pytest.mark.parametrize(("others", "free"), [(0.0, 4), (0.4, 4), (0.6, 3), (2.1, 2), (9.0, 1)])
def test_a_core_that_is_mostly_busy_is_not_free(monkeypatch: pytest.MonkeyPatch, others: float, free: int) -> None:
    monkeypatch.setattr("app.hardware.cores.usable_cores", lambda: 4)
    monkeypatch.setattr(CoreUse, "now", classmethod(lambda cls: cls(2.0, others, 0.0)))
    assert free_cores(CoreUse(1.0, 0.0, 0.0)) == free


def test_without_an_answer_from_the_system_all_cores_are_free() -> None:
    assert free_cores(None) == usable_cores()


@pytest.mark.skipif(CoreUse.now() is None, reason="this system has no /proc/stat")
def test_a_program_that_keeps_a_core_busy_is_seen() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = CoreUse.now()
        time.sleep(1.0)
        after = CoreUse.now()
    finally:
        busy.kill()
        busy.wait()
    assert before and after and before.others_until(after) > 0.2  # a share of a core if the machine is crowded


def test_version_2_of_the_control_groups(tmp_path: Path) -> None:
    """The least of a group and those above it."""
    own = tmp_path / "cgroup"
    own.write_text("0::/kubepods/pod1/box\n")
    for folder, limit in (
        ("kubepods", "400000 100000"),
        ("kubepods/pod1", "150000 100000"),
        ("kubepods/pod1/box", "max 1"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cpu.max").write_text(limit + "\n")
    assert cgroup_cores(tmp_path, own) == 1.5
    own.write_text("0::/elsewhere\n")  # the host's name of the group, seen in a container, which shows its own as root
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    assert cgroup_cores(tmp_path, own) == 3.0


def test_version_1_of_the_control_groups(tmp_path: Path) -> None:
    own, group = tmp_path / "cgroup", tmp_path / "cpu,cpuacct" / "docker" / "box"
    own.write_text("4:memory:/docker/box\n3:cpu,cpuacct:/docker/box\n")
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    assert cgroup_cores(tmp_path, own) is None
    (group / "cpu.cfs_quota_us").write_text("200000\n")
    assert cgroup_cores(tmp_path, own) == 2.0


@pytest.mark.parametrize("text", ["", "nonsense", "0::/x\n"])
def test_without_a_limit_there_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cgroup").write_text(text)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "cpu.max").write_text("0 0\n")
    assert cgroup_cores(tmp_path, tmp_path / "cgroup") is None
    assert cgroup_cores(tmp_path, tmp_path / "missing") is None


def test_usable_cores_keep_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, cores in ((0.5, 1), (1.9, 1), (None, len(os.sched_getaffinity(0)))):
        monkeypatch.setattr("app.hardware.cpu.cgroup_cores", lambda limit=limit: limit)
        assert usable_cores() == cores
