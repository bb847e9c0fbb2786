"""A process that dies or hangs fails one check, and the others run in a new process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from app.doctor.isolated import run_isolated
from app.host.checks.check import Answer, Check, passed

# Speaks the protocol of app.doctor.isolated_worker; a check's name tells what happens during it.
WORKER = """
import json, os, sys, time
for name in sys.argv[1:]:
    print(json.dumps({"begin": name}), flush=True)
    if name == "abort":
        sys.stderr.write("Could not load library libcudnn_cnn_infer.so.8. Error: libnvrtc.so: cannot open\\n")
        sys.stderr.flush()
        os.abort()
    if name == "exit":
        sys.exit(3)
    if name == "hang":
        time.sleep(60)
    print(json.dumps({"name": name, "status": "pass", "detail": f"{name} in {os.getpid()}", "fix": ""}), flush=True)
"""


def check(name: str, limit: float = 20.0) -> Check[str]:
    def look(seen: str) -> Answer:
        return passed(seen)

    return Check(name, look, source="somewhere", limit=limit, step=2)


@pytest.fixture
def worker(tmp_path: Path) -> list[str]:
    (tmp_path / "worker.py").write_text(WORKER)
    return [sys.executable, str(tmp_path / "worker.py")]


def test_all_answers_come_from_one_process_in_order(worker: list[str]) -> None:
    results = list(run_isolated([check("a"), check("b")], worker))
    assert [(r.name, r.status, r.step) for r in results] == [("a", "pass", 2), ("b", "pass", 2)]
    assert len({r.detail.split()[-1] for r in results}) == 1


def test_a_process_that_aborts_fails_its_check_with_its_last_words(worker: list[str]) -> None:
    first, second, third = run_isolated([check("a"), check("abort"), check("b")], worker)
    assert (first.status, second.status, third.status) == ("pass", "fail", "pass")
    assert second.detail.startswith("the process ended by SIGABRT: Could not load library libcudnn_cnn_infer.so.8")
    assert "(cudnn-load)" in second.fix
    assert second.source == "somewhere"
    assert first.detail.split()[-1] != third.detail.split()[-1]  # a new process


def test_a_process_that_exits_fails_its_check(worker: list[str]) -> None:
    first, second = run_isolated([check("exit"), check("b")], worker)
    assert (first.status, first.detail) == ("fail", "the process ended with code 3: it printed nothing")
    assert second.status == "pass"


def test_a_check_that_hangs_is_ended(worker: list[str]) -> None:
    begin = time.perf_counter()
    first, second, third = run_isolated([check("a"), check("hang", 0.3), check("b")], worker)
    assert time.perf_counter() - begin < 20
    assert (first.status, third.status) == ("pass", "pass")
    assert (second.status, second.detail) == ("fail", "no answer within 0.3 s")


def test_what_a_start_file_prints_is_no_answer(worker: list[str]) -> None:
    """A .pth file or sitecustomize runs before the worker, and may print what happens to be JSON."""
    noise = "print('patched 3 modules\\n3\\n{}', flush=True)"
    noisy = [sys.executable, "-c", f"{noise}; exec(open({worker[1]!r}).read())"]
    assert [(r.name, r.status) for r in run_isolated([check("a"), check("b")], noisy)] == [("a", "pass"), ("b", "pass")]
    (lost,) = run_isolated([check("a")], [sys.executable, "-c", noise])
    assert (lost.status, lost.detail) == ("fail", "the process ended with code 0: it printed nothing")


def test_a_process_that_does_not_start_is_tried_once() -> None:
    nothing = [sys.executable, "-c", "raise ImportError('no torch here')"]
    first, second, third = run_isolated([check("a"), check("b"), check("c")], nothing)
    assert (first.status, first.detail) == ("fail", "the process ended with code 1: ImportError: no torch here")
    assert (second.status, third.status) == ("skip", "skip")


def test_the_real_worker_keeps_its_protocol_free_of_other_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in place of torch prints while it is imported, and then raises."""
    (tmp_path / "torch.py").write_text(
        "print('a banner on standard output')\nraise OSError('libcudart.so.11.0: no such file')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from app.doctor.registry import ISOLATED

    results = {r.name: r for r in run_isolated(ISOLATED[:6])}
    assert [r.status for r in results.values()] == ["fail", "skip", "fail", "fail", "fail", "fail"]
    assert "OSError: libcudart.so.11.0: no such file" in results["PyTorch"].detail
