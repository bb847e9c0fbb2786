"""The cores that other programs leave free."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from app.cgroups import Limits
from app.hardware.cores import CoreUse, busy_seconds, free_cores
from app.hardware.cpu import usable_cores

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


def test_usable_cores_keep_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, cores in ((0.5, 1), (1.9, 1), (None, len(os.sched_getaffinity(0)))):
        monkeypatch.setattr("app.hardware.cpu.cgroup_limits", lambda limit=limit: Limits(cores=limit))
        assert usable_cores() == cores
