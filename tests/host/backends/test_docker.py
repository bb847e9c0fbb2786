"""The docker back end against recorded answers: when it builds, starts, reuses and gives up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.build_inputs import build_inputs
from app.host.backends.commands import Command
from app.host.backends.docker import DockerWorkspace
from app.host.plan.choose import Request, choose
from app.host.probe.machine import detect
from app.host.variants import VARIANTS
from app.host.world import Completed
from tests.host.fake_world import Answer, FakeWorld, docker_info
from tests.host.recording import RecordingRunner

ROOT = Path(__file__).parents[3]
HASH = "c2523e41dd82"


def digest() -> str:
    world = FakeWorld()
    return build_inputs(world, detect(world), ROOT, VARIANTS["cpu"]).digest


def image(inputs: str, image_id: str = "sha256:aa") -> dict[str, object]:
    return {"Id": image_id, "RootFS": {}, "Config": {"Labels": {"gpu-workspace.inputs": inputs}}}


def container(
    state: str = "running", health: str = "healthy", image_id: str = "sha256:aa", checkout: str = ""
) -> dict[str, object]:
    return {
        "Id": "bb",
        "Image": image_id,
        "State": {"Status": state, "Health": {"Status": health}},
        "Config": {
            "Labels": {
                "com.docker.compose.config-hash": HASH,
                "com.docker.compose.project.working_dir": checkout,
            }
        },
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout as far as the back end looks at it."""
    shutil.copytree(ROOT / "docker", tmp_path / "docker")
    return tmp_path


def workspace(
    root: Path,
    *objects: dict[str, object],
    config_hash: str = HASH,
    react: Callable[[Command], int] = lambda command: 0,
    env: Mapping[str, str] | None = None,
    free: int = 500_000_000_000,
    why: str = "",
    request: Request | None = None,
    more: Mapping[str, Answer] | None = None,
) -> tuple[DockerWorkspace, RecordingRunner]:
    recorded: dict[str, Answer] = {
        "docker info": docker_info(),
        "docker inspect": Completed(0 if len(objects) == 2 else 1, json.dumps(objects), "Error: No such object"),
        "env": f"dev {config_hash}\n",
        **(more or {}),
    }
    world = FakeWorld(recorded, env=env, free=free)
    host = detect(world)
    runner = RecordingRunner(root, react)
    return DockerWorkspace(root, host, choose(host, request or Request()), world, runner, lambda address: why), runner


def steps(runner: RecordingRunner) -> list[str]:
    return [next(w for w in command.argv if w in ("buildx", "up", "down", "exec")) for command in runner.commands]


def test_the_first_time_it_builds_and_starts(root: Path) -> None:
    made, runner = workspace(root)
    made.ensure()
    assert steps(runner) == ["buildx", "up"]


def test_a_current_running_container_is_reused_without_a_command(root: Path) -> None:
    made, runner = workspace(root, container(), image(digest()))
    made.ensure()
    assert runner.lines == []


@pytest.mark.parametrize(
    ("objects", "config_hash", "expected"),
    [
        ([image(digest())], HASH, ["up"]),
        ([container("exited", ""), image(digest())], HASH, ["up"]),
        ([container(health="unhealthy"), image(digest())], HASH, ["up"]),
        ([container(), image(digest())], "other", ["up"]),
        ([container(), image(digest(), "sha256:new")], HASH, ["up"]),
        ([container(), image("older")], HASH, ["buildx", "up"]),
    ],
    ids=["no container", "stopped", "unhealthy", "compose changed", "image rebuilt", "inputs changed"],
)
def test_what_is_not_current_is_brought_up(
    root: Path, objects: list[dict[str, object]], config_hash: str, expected: list[str]
) -> None:
    made, runner = workspace(root, *objects, config_hash=config_hash)
    made.ensure()
    assert steps(runner) == expected


def test_an_image_of_the_users_own_is_not_rebuilt(root: Path) -> None:
    made, runner = workspace(root, container(), image("theirs"), env={"WORKSPACE_IMAGE": "mirror/team:1"})
    made.ensure()
    assert runner.lines == []


def test_a_full_disk_stops_before_the_build_and_only_then(root: Path) -> None:
    made, runner = workspace(root, free=1_000_000_000)
    with pytest.raises(HostError, match=r"cpu image needs about 8 GB .* has 1.0 GB free"):
        made.ensure()
    assert runner.lines == []
    workspace(root, container(), image(digest()), free=1_000_000_000)[0].ensure()


def test_an_image_that_is_there_may_be_built_anew_on_a_full_disk(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, runner = workspace(root, container(), image("older"), free=1_000_000_000)
    made.ensure()
    assert steps(runner) == ["buildx", "up"]
    assert "has 1.0 GB free" in capsys.readouterr().err


def test_a_container_in_which_something_runs_is_not_replaced(root: Path) -> None:
    titles, idle = "PID COMMAND\n", "1 /sbin/docker-init -- tini -s -- x.sh sleep infinity\n8 sleep infinity\n"
    busy: dict[str, Answer] = {"docker top": titles + idle + "77 /opt/venv/bin/python /opt/venv/bin/app train gpt2\n"}
    made, runner = workspace(root, container(), image(digest()), config_hash="other", more=busy)
    with pytest.raises(HostError, match=r"but runs: /opt/venv/bin/python /opt/venv/bin/app train gpt2"):
        made.ensure()
    assert runner.lines == []
    made, runner = workspace(
        root, container(), image(digest()), config_hash="other", more={"docker top": titles + idle}
    )
    made.ensure()
    assert steps(runner) == ["up"]


def test_another_checkouts_container_is_left_alone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    made, runner = workspace(root, container(checkout=str(other)), image(digest()))
    for act in (made.ensure, made.stop):
        with pytest.raises(HostError, match=f"belongs to another checkout, {other}"):
            act()
    assert runner.lines == []
    for own_or_gone in (str(root), str(other / "gone")):
        workspace(root, container(checkout=own_or_gone), image(digest()))[0].ensure()


def test_root_in_a_rootless_engine_is_the_user(root: Path) -> None:
    rootless: dict[str, Answer] = {"docker info": docker_info(SecurityOptions=["name=rootless"])}
    assert (workspace(root, more=rootless)[0].user.uid, workspace(root, more=rootless)[0].user.gid) == (0, 0)


def test_a_failed_build_starts_nothing(root: Path) -> None:
    made, runner = workspace(root, react=lambda command: 1)
    with pytest.raises(HostError, match="building gpu-workspace:cpu-dev failed"):
        made.ensure()
    assert steps(runner) == ["buildx"]


def test_a_failed_start_is_explained_where_its_message_is_known(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, runner = workspace(root, image(digest()), react=lambda command: 1)
    runner.output = 'Error response from daemon: could not select device driver "" with capabilities: [[gpu]]\n'
    with pytest.raises(HostError, match="the container did not start"):
        made.ensure()
    assert "nvidia-ctk" in capsys.readouterr().err
    runner.output = "something never seen before\n"
    with pytest.raises(HostError, match="invoke doctor --explain"):
        made.ensure()


def test_ctrl_c_during_a_build_is_no_failure(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        workspace(root, react=lambda command: 130)[0].ensure()


def test_wheels_out_of_reach_are_replaced_and_that_is_remembered(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, runner = workspace(root, why="HTTP 403")
    chosen = made.plan
    assert made.ensure().variant.name == "cu117"
    assert made.plan is chosen
    assert "out of reach" in capsys.readouterr().err
    build, up = runner.commands
    assert ("gpu-workspace:cu117-dev" in build.argv) and ("BASE_IMAGE=ubuntu:22.04" in build.argv)
    assert up.env["WORKSPACE_IMAGE"] == "gpu-workspace:cu117-dev"
    assert workspace(root, why="would take seconds to ask")[0].plan.variant.name == "cu117"
    assert workspace(root, request=Request(variant="cpu"))[0].plan.variant.name == "cpu", "asked for by name"


def test_a_network_that_is_away_altogether_is_not_remembered(root: Path) -> None:
    made, _ = workspace(root, why="no route to host", react=lambda command: 1)
    with pytest.raises(HostError, match="building gpu-workspace:cu117-dev failed"):
        made.ensure()
    assert workspace(root)[0].plan.variant.name == "cpu"


def test_an_unknown_target_names_the_known_ones(root: Path) -> None:
    with pytest.raises(HostError, match="use one of: dev, runtime"):
        workspace(root)[0].build("devel")


def test_a_command_at_a_terminal_is_run_as_it_is_and_otherwise_can_be_interrupted(root: Path) -> None:
    made, runner = workspace(root)
    made.run(made.plan, ["app", "x"], terminal=True)
    made.run(made.plan, ["app", "x"], terminal=False)
    assert runner.commands[0].argv[-3:] == ("/usr/local/bin/entrypoint.sh", "app", "x")
    assert "--tty" in runner.commands[0].argv
    assert runner.commands[1].argv[-3:] == ("/usr/local/bin/entrypoint.sh", "app", "x")
    assert 'exec "$@"' in runner.commands[1].line
    assert "--tty" not in runner.commands[1].argv


def test_files_outside_the_checkout_are_shown_to_a_container_of_the_commands_own(root: Path) -> None:
    file = root.parent / "beside.tsv"
    file.write_text("good\t1\n")
    made, runner = workspace(root)
    made.run(made.plan, ["app", "train", "sentiment", "data.train=../beside.tsv"], terminal=False)
    argv = runner.commands[0].argv
    assert argv[argv.index("--volume") + 1] == f"{file}:/beside.tsv:ro"
    assert argv[-5:] == ("dev", "app", "train", "sentiment", "data.train=../beside.tsv")
    assert {"run", "--rm", "--no-TTY"} <= set(argv)


def test_a_folder_to_write_into_is_made_by_the_user_and_not_in_a_dry_run(root: Path) -> None:
    made, runner = workspace(root)
    folder = root.parent / f"{root.name}-runs"
    runner.dry = True
    made.run(made.plan, ["app", "train", "sentiment", "--runs", str(folder)], terminal=False)
    assert not folder.exists()
    runner.dry = False
    made.run(made.plan, ["app", "train", "sentiment", "--runs", str(folder)], terminal=False)
    assert folder.is_dir() and f"{folder}:{folder}" in runner.commands[-1].argv


def test_state_tells_what_is_there(root: Path) -> None:
    made, _ = workspace(root)
    assert made.state(made.plan) == [
        "image     gpu-workspace:cpu-dev: not built",
        "container gpu-workspace-dev-1: none",
    ]
    made, _ = workspace(root, container(), image("older"))
    assert made.state(made.plan) == [
        "image     gpu-workspace:cpu-dev, not current: the next `invoke up` rebuilds it",
        "container gpu-workspace-dev-1: running, healthy",
    ]
