"""`invoke up` to `invoke down` on a real Docker engine, in a separate compose project."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config import load
from app.errors import ModelError
from app.models.fetch import model_folder
from app.schema import TextClassification

ROOT = Path(__file__).resolve().parents[3]
PROJECT = f"gpu-workspace-test-{os.getpid()}"
CARD = "0, NVIDIA GeForce RTX 4090, GPU-1, 535.104.05, 24564, 8.9"

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def start(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def invoke(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    with start(*arguments, env=env) as process:
        out, err = process.communicate(timeout=800)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    """The environment of every command here; the workspace runs as long as the module's tests."""
    if shutil.which("docker") is None or not docker("version", "--format", "{{.Server.Version}}"):
        pytest.skip("no Docker engine answers; `.ci/run` brings one up on Debian 12")
    env = {
        **os.environ,
        "WORKSPACE_VARIANT": "cu117",
        "WORKSPACE_BACKEND": "docker",
        "COMPOSE_PROJECT_NAME": PROJECT,
    }
    up = invoke("up", "--gpus", "none", env=env)
    if "failed to resolve source metadata" in up.stderr:
        pytest.skip("the base image cannot be pulled here; WORKSPACE_BASE_IMAGE names another")
    assert up.returncode == 0, up.stderr[-2000:]
    yield env
    invoke("down", env=env)
    docker("volume", "rm", f"{PROJECT}_cache")


@pytest.fixture
def card(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same machine with a stub of nvidia-smi first on PATH, so that the host finds a card."""
    if "nvidia" in docker("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("this engine has the NVIDIA runtime: a stub cannot replace it")
    program(tmp_path / "nvidia-smi", f"echo {shlex.quote(CARD)}")
    return {**env, "PATH": f"{tmp_path}{os.pathsep}{env['PATH']}"}


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXOTH)


def test_a_warm_up_reuses_the_container_within_two_seconds(env: dict[str, str]) -> None:
    before = docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", f"{PROJECT}-dev-1")
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert invoke("up", "--gpus", "none", "--command", "true", env=env).returncode == 0
        times.append(time.perf_counter() - began)
    assert min(times) < 2
    assert docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", f"{PROJECT}-dev-1") == before


def test_output_and_exit_code_are_those_of_the_command(env: dict[str, str]) -> None:
    done = invoke("up", "--gpus", "none", "--command", "echo $WORKSPACE_INSIDE; exit 7", env=env)
    assert (done.stdout, done.returncode) == ("1\n", 7)


def test_written_files_belong_to_the_hosts_user(env: dict[str, str]) -> None:
    name = f".written-{os.getpid()}"
    try:
        assert invoke("up", "--gpus", "none", "--command", f"touch {name} /cache/{name}", env=env).returncode == 0
        assert (ROOT / name).stat().st_uid == os.getuid()
    finally:
        (ROOT / name).unlink(missing_ok=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 41), (signal.SIGTERM, 42)])
def test_signals_reach_the_command_in_the_container(env: dict[str, str], number: int, code: int) -> None:
    script = "trap 'kill $!; exit 41' INT; trap 'kill $!; exit 42' TERM; echo ready; sleep 60 & wait"
    with start("up", "--gpus", "none", "--command", script, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == code


def test_a_file_next_to_the_checkout_is_read_as_natively(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "beside.txt").write_text("seen\n")
    words = f"cat {tmp_path}/beside.txt {os.path.relpath(tmp_path / 'beside.txt', ROOT)}; exit 7"
    done = invoke("up", "--gpus", "none", "--command", words, env=env)
    assert (done.stdout, done.returncode) == ("seen\nseen\n", 7), done.stderr[-2000:]
    assert not docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.oneoff=True")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 41), (signal.SIGTERM, 42)])
def test_signals_reach_a_command_that_reads_next_to_the_checkout(
    env: dict[str, str], tmp_path: Path, number: int, code: int
) -> None:
    script = f"trap 'kill $!; exit 41' INT; trap 'kill $!; exit 42' TERM; ls {tmp_path}; echo ready; sleep 60 & wait"
    with start("up", "--gpus", "none", "--command", script, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == code


def test_a_training_is_not_ended_by_a_second_terminal_that_asks_for_something_else(
    env: dict[str, str],
) -> None:
    another = f"{PROJECT}:another"
    docker("tag", "gpu-workspace:cu117-dev", another)
    container = docker("inspect", "--format", "{{.Id}}", f"{PROJECT}-dev-1")
    with start("up", "--gpus", "none", "--command", "echo ready; exec sleep 120", env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        same = invoke("up", "--gpus", "none", "--command", 'echo "$HF_TOKEN"', env={**env, "HF_TOKEN": "another"})
        other = invoke("up", "--gpus", "none", "--command", "true", env={**env, "WORKSPACE_IMAGE": another})
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=20)
    docker("rmi", another)
    assert same.stdout == "another\n", same.stderr[-2000:]
    assert other.returncode == 2 and "but runs: sleep 120" in other.stderr, other.stderr[-2000:]
    assert docker("inspect", "--format", "{{.Id}}", f"{PROJECT}-dev-1") == container


def test_down_asks_and_lets_what_runs_write_its_checkpoint(env: dict[str, str]) -> None:
    script = "trap 'sleep 1; echo saved >/cache/saved; exit 41' TERM; echo ready; sleep 60 & wait"
    with start("up", "--gpus", "none", "--command", script, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        told = invoke("status", "--gpus", "none", env=env)
        assert "running   bash -c trap" in told.stdout and f"docker exec {PROJECT}-dev-1 kill " in told.stdout
        refused = invoke("down", env=env)
        assert refused.returncode == 2 and "sleep 60" in refused.stderr and "add `--yes`" in refused.stderr
        assert process.poll() is None
        assert invoke("down", "--yes", env=env).returncode == 0
        process.communicate(timeout=20)
    assert process.returncode == 41
    again = invoke("up", "--gpus", "none", "--command", "cat /cache/saved", env=env)
    assert again.stdout == "saved\n", again.stderr


@pytest.mark.slow
def test_the_first_command_trains_in_the_container(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`invoke train sentiment` with empty caches in the container, as the README promises for a native machine."""
    done = invoke("train", "sentiment", "--gpus", "none", env=env)
    if "could not be fetched" in done.stderr:
        monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path))
        with contextlib.suppress(ModelError):
            recipe = load("sentiment")
            assert isinstance(recipe, TextClassification)
            model_folder(recipe.model.name)
            pytest.fail(f"this machine can fetch the model and its container cannot: {done.stderr[-2000:]}")
        pytest.skip("neither the model hub nor the package index answers this machine")
    assert done.returncode == 0, done.stderr[-3000:]
    (accuracy,) = re.findall(r"^test: .*accuracy ([\d.]+)", done.stdout, re.M)
    assert float(accuracy) > 0.75
    (run,) = re.findall(r"^run: (\S+)", done.stdout, re.M)
    assert (ROOT / run / "model" / "model.safetensors").stat().st_uid == os.getuid()
    shutil.rmtree(ROOT / run)


def test_cdi_gives_the_card_to_the_container(card: dict[str, str], tmp_path: Path) -> None:
    folder = os.environ.get("WORKSPACE_CDI_DIR")
    if not folder:
        pytest.skip("WORKSPACE_CDI_DIR names no folder of CDI specs of the engine; `.ci/dockerd env` does")
    context = tmp_path / "seen"
    context.mkdir()
    program(context / "nvidia-smi", "echo handed over")
    mount = {"hostPath": str(context / "nvidia-smi"), "containerPath": "/usr/bin/nvidia-smi", "options": ["ro", "bind"]}
    spec = {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "devices": [{"name": "all", "containerEdits": {"mounts": [mount]}}],
    }
    file = Path(folder) / f"{PROJECT}.json"
    file.write_text(json.dumps(spec, indent=1))
    try:
        done = invoke("up", "--command", 'nvidia-smi; echo "$CUDA_VISIBLE_DEVICES"', "--gpus", "0", env=card)
    finally:
        file.unlink()
    assert done.returncode == 0, done.stderr[-2000:]
    assert "through CDI" in done.stderr
    assert done.stdout == "handed over\n0\n"


def test_a_card_that_the_engine_cannot_provide_is_explained(card: dict[str, str], tmp_path: Path) -> None:
    # As if the toolkit was installed and Docker not restarted.
    program(tmp_path / "nvidia-container-runtime-hook", "true")
    done = invoke("up", "--command", "true", env=card)
    assert done.returncode == 2
    assert "could not select device driver" in done.stderr
    assert "nvidia-ctk runtime configure" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_toolkit_docker_is_refused_with_its_installation(card: dict[str, str]) -> None:
    done = invoke("up", "--command", "true", env=card)
    assert done.returncode == 2
    assert "the NVIDIA Container Toolkit is not set up" in done.stderr


def test_down_keeps_the_cache_and_the_image(env: dict[str, str]) -> None:
    invoke("up", "--gpus", "none", "--command", "echo dear > /cache/kept", env=env)
    assert invoke("down", env=env).returncode == 0
    assert docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}") == ""
    assert docker("image", "ls", "--quiet", "gpu-workspace:cu117-dev")
    again = invoke("up", "--gpus", "none", "--command", "cat /cache/kept", env=env)
    assert again.stdout == "dear\n"
