"""The first process passes signals and exit codes on, buries the dead, and its health is a quick and true answer."""

from __future__ import annotations

import signal
import time

import pytest
from docker.models.containers import Container

from tests.images.boxes import Boxes, finished

# Says what it was sent and ends with a code of its own.
LISTENER = """
import signal, sys, time
def told(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit(40 + number)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, told)
print("listening", flush=True)
time.sleep(60)
"""


def until(box: Container, text: str, seconds: float = 20) -> None:
    """Wait until a container has printed something."""
    end = time.monotonic() + seconds
    while text not in box.logs().decode():
        assert time.monotonic() < end, box.logs().decode()
        time.sleep(0.05)


@pytest.mark.parametrize("code", [0, 2, 130])
def test_exit_codes_come_through(boxes: Boxes, image: str, code: int) -> None:
    assert boxes.run(image, "sh", "-c", f"exit {code}").code == code


def test_a_command_that_is_not_there_is_127(boxes: Boxes, runtime: str) -> None:
    assert boxes.run(runtime, "no-such-command").code == 127


@pytest.mark.parametrize("init", [False, True], ids=["tini", "docker-init"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signals_reach_the_command(boxes: Boxes, runtime: str, name: str, init: bool) -> None:
    with boxes.started(runtime, "python", "-c", LISTENER, init=init) as box:
        until(box, "listening")
        box.kill(name)
        done = finished(box, timeout=10)
    assert (done.code, done.out) == (40 + signal.Signals[name], f"listening\n{name}\n")
    assert done.err == ""


def test_docker_stop_does_not_wait_for_its_timeout(boxes: Boxes, image: str) -> None:
    """The first process of a container ignores SIGTERM unless something like tini stands before it."""
    with boxes.started(image, "sleep", "60") as box:
        started = time.monotonic()
        box.stop(timeout=10)
        assert time.monotonic() - started < 5


def test_orphans_are_reaped(boxes: Boxes, runtime: str) -> None:
    script = "(sleep 0.1 & ) ; sleep 0.5; cat /proc/[0-9]*/status | grep -c 'State:.Z'; true"
    assert boxes.run(runtime, "sh", "-c", script).text == "0\n"


def test_a_container_becomes_healthy(boxes: Boxes, image: str) -> None:
    with boxes.started(image, "sleep", "60") as box:
        end = time.monotonic() + 20
        box.reload()
        while box.attrs["State"]["Health"]["Status"] == "starting":
            assert time.monotonic() < end
            time.sleep(0.3)
            box.reload()
        assert box.attrs["State"]["Health"]["Status"] == "healthy", box.attrs["State"]["Health"]


def test_a_health_check_takes_less_than_a_second_of_a_core(boxes: Boxes, image: str) -> None:
    """Processor time: the wall clock would measure what else this machine does."""
    script = "TIMEFORMAT='%U %S'; time healthcheck.sh"
    done = boxes.run(image, "bash", "-c", script)
    assert (done.code, done.out) == (0, "")
    assert sum(map(float, done.err.split())) < 1


def test_health_needs_the_package_and_the_url(boxes: Boxes, runtime: str) -> None:
    broken = {"/opt/venv/lib/python3.10/site-packages/app": ""}
    assert boxes.run(runtime, "healthcheck.sh", tmpfs=broken).code != 0
    assert boxes.run(runtime, "healthcheck.sh", "http://127.0.0.1:9/").code != 0


# What a training does: on SIGTERM it needs a moment for its checkpoint.
TRAINING = """
import signal, sys, time
def stop(number, frame):
    time.sleep(2)
    print("checkpoint written", file=open("/cache/said", "w"), flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open("/cache/began", "w")
time.sleep(100)
"""


@pytest.mark.parametrize("user", ["1234:1234", "0:0"])
def test_a_stop_lets_what_was_started_by_exec_end_first(boxes: Boxes, dev: str, user: str) -> None:
    """`docker exec` starts outside the main process's family, so a stop would kill it without a signal."""
    with boxes.started(dev, "idle.sh", init=True, user=user) as box:
        box.exec_run(["python", "-c", TRAINING], detach=True)
        box.exec_run(["bash", "-i"], tty=True, stdin=True, detach=True)  # ignores SIGTERM: nobody waits for it
        while box.exec_run(["test", "-e", "/cache/began"])[0]:
            time.sleep(0.1)
        began = time.monotonic()
        box.stop(timeout=30)
        assert 2 <= time.monotonic() - began < 10
        chunks, _ = box.get_archive("/cache/said")
        assert b"checkpoint written" in b"".join(chunks)
        box.reload()
        assert box.attrs["State"]["ExitCode"] == 0
