"""What `invoke clean` takes, and above all what it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.clean import DEV_CONTAINER, agreed, removal, remove
from app.host.backends.commands import project
from app.host.probe.machine import detect
from tests.host.fake_world import Answer, FakeWorld, docker_info
from tests.host.recording import RecordingRunner

DOCKER: dict[str, Answer] = {
    "docker info": docker_info(),
    "docker ps": {"working_dir=": "ours\n", "project=ours ": "ours-dev-1\n"},
    "docker network ls": {"project=ours ": "ours_default\n"},
    "docker volume ls": {"project=ours ": "ours_cache\n"},
    "docker image ls": "gpu-workspace:cpu-dev\ngpu-workspace:my-own\n",
    "docker image ls --quiet": "sha256:aa\nsha256:bb\n",
    "docker system df": '{"Type":"Images","Size":"40GB"}\n{"Type":"Build Cache","Size":"24.31GB"}\n',
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
    kept = [".venv", ".ruff_cache", "gpu_workspace.egg-info", "container ours-dev-1"]
    assert lines(root) == [*kept, "network ours_default"]


def test_each_goes_when_it_is_named(root: Path) -> None:
    assert "runs" in lines(root, runs=True)
    assert {"home/.cache/gpu-workspace", "volume ours_cache"} <= set(lines(root, cache=True))
    images = [line for line in lines(root, images=True) if "image" in line]
    assert images == ["image gpu-workspace:cpu-dev", "2 untagged images of earlier builds"]


def test_what_images_leave_on_the_disk_is_said_with_how_to_free_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = FakeWorld(DOCKER, env={"HOME": str(root / "home")})
    what = removal(world, detect(world), root, runs=False, cache=False, images=True)
    assert agreed(what, yes=True)
    assert "builder's cache stays, 24.3 GB" in capsys.readouterr().err
    assert "`docker builder prune`" in what.stays[0]
    prune = next(command for _, command in what.docker if "prune" in command.argv)
    assert prune.argv[-2:] == ("--filter", "label=gpu-workspace.variant"), "no other project's"


def test_what_each_way_in_left_goes_too_though_its_container_is_gone(root: Path) -> None:
    """By the projects' names: after `invoke down` there is no container to ask."""
    env = {"USER": "me", "HOME": str(root / "home")}
    for prefix in ("gpu-workspace", DEV_CONTAINER):
        name = project(root, "me", prefix)
        found: dict[str, Answer] = {
            **DOCKER,
            "docker ps": {f"={name} ": f"{name}-dev-1\n"},
            "docker volume ls": {f"={name} ": f"{name}_cache\n"},
        }
        world = FakeWorld(found, env=env)
        kept = [what for what, _ in removal(world, detect(world), root, runs=False, cache=False, images=False).docker]
        assert f"container {name}-dev-1" in kept
        assert f"volume {name}_cache" not in kept
        told = [what for what, _ in removal(world, detect(world), root, runs=False, cache=True, images=False).docker]
        assert f"volume {name}_cache" in told


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
    assert runner.lines == ["docker rm --force ours-dev-1", "docker network rm ours_default"]
    assert sorted(path.name for path in root.iterdir()) == ["app", "home", "runs"]
    assert (root / "runs" / "model").read_text() == "dear"
