"""The real World: commands have a deadline that holds, and a port is in use if Docker could not bind it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from app.host import world as worlds
from app.host.probe.machine import detect
from app.host.world import NOT_FOUND, TIMED_OUT, Completed, World
from tests.host.fake_world import FakeWorld


def test_a_command_gives_its_code_and_both_outputs() -> None:
    done = World().run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")
    assert World().run(["/nowhere/nvidia-smi"]).code == NOT_FOUND


def test_a_command_that_a_signal_ended_says_which() -> None:
    assert World().run(["sh", "-c", "kill -SEGV $$"]).code == -11


def test_a_command_that_does_not_answer_is_killed() -> None:
    began = time.perf_counter()
    done = World().run(["sleep", "30"], timeout=0.1)
    assert (done.code, done.err) == (TIMED_OUT, "sleep did not answer within 0.1 s")
    assert time.perf_counter() - began < 2


def test_a_command_that_cannot_be_killed_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As nvidia-smi in state D, waiting in the kernel for a card."""
    kill = subprocess.Popen.kill
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: None)
    monkeypatch.setattr(worlds, "_GRACE", 0.1)
    began = time.perf_counter()
    done = World().run(["sleep", "30"], timeout=0.1)
    assert time.perf_counter() - began < 2
    assert done.err == "sleep did not answer within 0.1 s and cannot be killed"
    process = worlds._abandoned.pop()
    kill(process)
    process.communicate()


def test_a_child_that_keeps_the_output_open_does_not_prolong_the_wait() -> None:
    began = time.perf_counter()
    assert World().run(["sh", "-c", "sleep 2 & wait"], timeout=0.1).code == TIMED_OUT
    assert time.perf_counter() - began < 1.5


def test_ctrl_c_during_detection_ends_it_at_once() -> None:
    """The engine, asked in a thread, does not answer."""
    answer = threading.Event()

    class Stuck(FakeWorld):
        def run(self, argv: Sequence[str], timeout: float = 10.0) -> Completed:
            if argv[0] == "docker":
                answer.wait(20)
                return Completed(TIMED_OUT)
            raise KeyboardInterrupt

    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        detect(Stuck({"docker info": "", "nvidia-smi": ""}))
    assert time.perf_counter() - began < 2
    answer.set()


@contextmanager
def listening(family: socket.AddressFamily, address: str, only_v6: bool = False) -> Iterator[int]:
    """A listening socket, and its port."""
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no address {address}")
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("family", "address", "only_v6", "in_use"),
    [
        (socket.AF_INET, "127.0.0.1", False, True),
        (socket.AF_INET, "0.0.0.0", False, True),
        (socket.AF_INET, "127.0.0.2", False, False),
        (socket.AF_INET6, "::", False, True),
        (socket.AF_INET6, "::", True, False),
        (socket.AF_INET6, "::1", True, False),
    ],
)
def test_a_port_is_in_use_if_the_same_address_has_it(
    family: socket.AddressFamily, address: str, only_v6: bool, in_use: bool
) -> None:
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("no IPv6")
    with listening(family, address, only_v6) as port:
        assert World().port_in_use("127.0.0.1", port) is in_use


def test_a_port_that_only_root_may_bind_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker's engine, which is root, can bind it."""

    class Denied(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Denied)
    assert not World().port_in_use("127.0.0.1", 80)
