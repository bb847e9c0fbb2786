"""Shared memory, caches, the second process, Jupyter and the hub."""

from __future__ import annotations

import http.server
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.doctor.checks import environment
from app.doctor.checks.environment import MIB, all_reduce, caches, hub, jupyter, shared_memory
from tests.doctor.fake_context import context

SHM = {"/dev/shm/x": ""}


@pytest.mark.parametrize(
    ("free_mib", "workers", "status"),
    [(64, None, "warn"), (64, 4, "fail"), (64, 1, "pass"), (64, 0, "pass"), (8192, 32, "pass"), (8192, None, "pass")],
)
def test_shared_memory_against_workers(free_mib: int, workers: int | None, status: str) -> None:
    answer = shared_memory.look(context(files=SHM, free=free_mib * MIB, workers=workers))
    assert answer.status == status
    assert answer.detail.startswith(
        f"{free_mib} MiB free in /dev/shm, {4 if workers is None else workers} workers want "
    )


def test_no_shared_memory_file_system() -> None:
    assert shared_memory.look(context()).status == "skip"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    return {name: str(tmp_path / name.lower()) for name in environment.CACHES}


def test_caches_may_not_exist_yet_but_must_be_makeable(folders: dict[str, str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert caches.look(context(env=folders)).status == "pass"
    assert sorted(tmp_path.rglob("*")) == before  # no file stays


def test_a_cache_that_cannot_be_written_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = caches.look(context(env={**folders, "HF_HOME": str(tmp_path / "file")}))
    assert answer.status == "fail"
    assert answer.detail.startswith(f"HF_HOME: {tmp_path / 'file'} cannot be written by user {os.getuid()}: ")
    assert "chown" in answer.fix


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hf_home").mkdir(mode=0o500)
    assert caches.look(context(env=folders)).status == "fail"


@pytest.fixture
def hub_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_hub_that_answers_with_anything_is_reachable(hub_server: str) -> None:
    answer = hub.look(context(env={"HF_ENDPOINT": hub_server, "HF_HOME": "/hf"}, files={"/hf/hub/models--bert": ""}))
    assert (answer.status, answer.detail) == ("pass", f"{hub_server} answers; 1 models and data sets in /hf")


def test_hub_that_does_not_answer_is_a_warning() -> None:
    answer = hub.look(context(env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "/hf"}))
    assert (answer.status, "cannot be reached" in answer.detail) == ("warn", True)


def test_offline_by_choice_asks_nobody() -> None:
    answer = hub.look(context(env={"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": "/hf"}))
    assert (answer.status, answer.detail[:7]) == ("pass", "offline")


@pytest.mark.slow
def test_two_processes_sum_a_tensor() -> None:
    answer = all_reduce.look(context())
    assert (answer.status, "2 processes: 4 MiB added up" in answer.detail) == ("pass", True), answer


@pytest.mark.slow
def test_a_kernel_starts() -> None:
    site = Path(sys.modules["pytest"].__file__ or "").parents[1]
    answer = jupyter.look(context(files={f"{site}/ipykernel": ""}, site=site))
    assert (answer.status, answer.detail[:13]) == ("pass", "kernel python"), answer


def test_an_image_without_jupyter_skips() -> None:
    assert jupyter.look(context()).status == "skip"


def test_a_process_that_fails_is_explained() -> None:
    code = 'import sys; sys.exit("ncclSystemError: System call (e.g. socket, malloc) or external library call failed")'
    answer = environment._run([sys.executable, "-c", code], 30)
    assert (answer.status, "(nccl-system-error)" in answer.fix) == ("fail", True)


def test_a_process_that_hangs_is_ended() -> None:
    answer = environment._run([sys.executable, "-c", "import time; time.sleep(60)"], 0.5)
    assert (answer.status, answer.detail) == ("fail", "no answer within 0.5 s")
