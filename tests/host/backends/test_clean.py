"""What `invoke clean` takes, and above all what it leaves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.clean import agreed, removal, remove
from app.host.probe.machine import detect
from tests.host.fake_world import Answer, FakeWorld, docker_info
from tests.host.recording import RecordingRunner

ROOT = Path(__file__).resolve().parents[3]
DOCKER: dict[str, Answer] = {
    "docker info": docker_info(),
    "docker ps": {"=gpu-workspace ": "gpu-workspace-dev-1\n"},
    "docker network ls": {"=gpu-workspace ": "gpu-workspace_default\n"},
    "docker volume ls": {"=gpu-workspace ": "gpu-workspace_cache\n"},
    "docker image ls": "gpu-workspace:cpu-dev\ngpu-workspace:my-own\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in (".venv", "runs", "app", ".ruff_cache", "gpu_workspace.egg-info", "home/.cache/gpu-workspace"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "model").write_text("dear")
    return tmp_path


def lines(root: Path, runs: bool = False, cache: bool = False, images: bool = False) -> list[str]:
    world = FakeWorld(DOCKER, env={"HOME": str(root / "home")})
    what = removal(world, detect(world), root, runs, cache, images)
    return [str(folder.relative_to(root)) for folder in what.folders] + [name for name, _ in what.docker]


def test_runs_caches_and_images_stay_unless_told(root: Path) -> None:
    kept = [".venv", ".ruff_cache", "gpu_workspace.egg-info", "container gpu-workspace-dev-1"]
    assert lines(root) == [*kept, "network gpu-workspace_default"]


def test_each_goes_when_it_is_named(root: Path) -> None:
    assert "runs" in lines(root, runs=True)
    assert {"home/.cache/gpu-workspace", "volume gpu-workspace_cache"} <= set(lines(root, cache=True))
    assert [line for line in lines(root, images=True) if line.startswith("image")] == ["image gpu-workspace:cpu-dev"]


def test_what_the_dev_container_left_goes_too(root: Path) -> None:
    name = re.search(r'^PROJECT = "(.+)"$', (ROOT / ".devcontainer" / "initialize.py").read_text(), re.M)
    assert name is not None
    ours = f"={name[1]} "
    found: dict[str, Answer] = {
        **DOCKER,
        "docker ps": {ours: f"{name[1]}-dev-1\n"},
        "docker volume ls": {ours: f"{name[1]}_cache\n"},
    }
    world = FakeWorld(found)
    kept = [what for what, _ in removal(world, detect(world), root, runs=False, cache=False, images=False).docker]
    assert f"container {name[1]}-dev-1" in kept
    assert f"volume {name[1]}_cache" not in kept
    told = [what for what, _ in removal(world, detect(world), root, runs=False, cache=True, images=False).docker]
    assert f"volume {name[1]}_cache" in told


def test_without_a_terminal_and_without_yes_nothing_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    what = removal(world, detect(world), root, runs=True, cache=False, images=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(HostError, match="nothing was removed"):
        agreed(what, yes=False)
    assert agreed(what, yes=True)


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("", False), ("no", False)])
def test_the_answer_counts(root: Path, monkeypatch: pytest.MonkeyPatch, answer: str, goes: bool) -> None:
    world = FakeWorld()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: answer)
    assert agreed(removal(world, detect(world), root, runs=False, cache=False, images=False), yes=False) is goes


def test_ctrl_d_at_the_question_removes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def end() -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    with pytest.raises(HostError, match="nothing was removed"):
        agreed(removal(world, detect(world), root, runs=False, cache=False, images=False), yes=False)


def test_one_failure_does_not_keep_the_rest(root: Path) -> None:
    world = FakeWorld(DOCKER, env={"HOME": str(root / "home")})
    runner = RecordingRunner(root, lambda command: 5 if "rm --force" in command.line else 0)
    assert remove(removal(world, detect(world), root, runs=False, cache=False, images=False), runner) == 5
    assert len(runner.lines) == 2
    assert not (root / ".venv").exists()


def test_a_folder_that_could_not_be_removed_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example because root wrote into it in a container."""
    world = FakeWorld()
    what = removal(world, detect(world), root, runs=False, cache=False, images=False)
    whole = shutil.rmtree

    def remove_but_one(folder: Path, ignore_errors: bool) -> None:
        if folder.name != ".venv":
            whole(folder)

    monkeypatch.setattr(shutil, "rmtree", remove_but_one)
    with pytest.raises(HostError) as caught:
        remove(what, RecordingRunner(root))
    (problem,) = caught.value.problems
    assert str(root / ".venv") in problem.what
    assert problem.fix == f"`sudo rm -r {root / '.venv'}`"
    assert not (root / ".ruff_cache").exists()


def test_removing_removes_that_and_no_more(root: Path) -> None:
    world = FakeWorld(DOCKER, env={"HOME": str(root / "home")})
    runner = RecordingRunner(root)
    assert remove(removal(world, detect(world), root, runs=False, cache=False, images=False), runner) == 0
    assert runner.lines == ["docker rm --force gpu-workspace-dev-1", "docker network rm gpu-workspace_default"]
    assert sorted(path.name for path in root.iterdir()) == ["app", "home", "runs"]
    assert (root / "runs" / "model").read_text() == "dear"
