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
BOX = "a_project_dev_1"  # as compose names it with COMPOSE_COMPATIBILITY


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
    listed = json.dumps({"Name": BOX, "Service": "dev", "State": "running", "Labels": "a=b"})
    recorded: dict[str, Answer] = {
        "docker info": docker_info(),
        "docker inspect": Completed(0 if len(objects) == 2 else 1, json.dumps(objects), "Error: No such object"),
        "env": {"--hash": f"dev {config_hash}\n", "ps --all": listed if any("State" in o for o in objects) else ""},
        **(more or {}),
    }
    world = FakeWorld(recorded, env=env, free=free)
    host = detect(world)
    runner = RecordingRunner(root, react)
    return DockerWorkspace(root, host, choose(host, request or Request()), world, runner, lambda address: why), runner


IDLE = """\
PID   PPID  ELAPSED   COMMAND
801   780   03:00:00  /sbin/docker-init -- tini -s -- /usr/local/bin/entrypoint.sh idle.sh
822   801   03:00:00  tini -s -- /usr/local/bin/entrypoint.sh idle.sh
823   822   03:00:00  /bin/sh /usr/local/bin/idle.sh
830   823   03:00:00  sleep infinity
990   780   00:00     /bin/sh /usr/local/bin/healthcheck.sh
991   990   00:00     python -c import app.errors
"""
# With two workers of its loader, and the helper that Python starts for them.
TRAINING = """\
877   780   02:13:05  /opt/venv/bin/python /opt/venv/bin/app train gpt2
878   877   02:13:01  /opt/venv/bin/python /opt/venv/bin/app train gpt2
879   877   02:13:01  /opt/venv/bin/python /opt/venv/bin/app train gpt2
880   877   02:13:01  /opt/venv/bin/python -c from multiprocessing.resource_tracker import main;main(5)
"""


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
    busy: dict[str, Answer] = {"docker top": IDLE + TRAINING}
    made, runner = workspace(root, container(), image(digest()), config_hash="other", more=busy)
    with pytest.raises(HostError, match=r"but runs: /opt/venv/bin/python /opt/venv/bin/app train gpt2"):
        made.ensure()
    assert runner.lines == []
    made, runner = workspace(root, container(), image(digest()), config_hash="other", more={"docker top": IDLE})
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


def test_a_path_with_a_colon_is_mounted_by_a_compose_file(root: Path) -> None:
    """`--volume` separates its parts by colons."""
    file = root.parent / f"{root.name}-12:30.tsv"
    file.write_text("good\t1\n")
    seen: list[dict[str, object]] = []

    def look(command: Command) -> int:
        (written,) = (root / ".cache").glob("*.compose.yaml")
        assert str(written.relative_to(root)) in command.argv and "--volume" not in command.argv
        seen.extend(json.loads(written.read_text())["services"]["dev"]["volumes"])
        return 3

    made, _ = workspace(root, react=look)
    assert made.run(made.plan, ["app", "train", "sentiment", f"data.train={file}"], terminal=False) == 3
    bind = {"create_host_path": False}
    assert seen == [{"type": "bind", "source": str(file), "target": str(file), "read_only": True, "bind": bind}]
    assert not list((root / ".cache").glob("*.compose.yaml"))


def test_commands_go_to_the_container_that_compose_names(root: Path) -> None:
    made, runner = workspace(root, container(), image(digest()))
    made.run(made.plan, ["true"], terminal=True)
    assert BOX in runner.commands[0].argv
    made, runner = workspace(root, env={"USER": "j.doe"})
    made.run(made.plan, ["true"], terminal=True)
    (named,) = [word for word in runner.commands[0].argv if word.endswith("-dev-1")]
    assert named.startswith("gpu-workspace-jdoe") and root.name.lower().replace(".", "") in named


def test_down_says_what_it_stops_and_asks(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    busy: dict[str, Answer] = {"docker top": IDLE + TRAINING}
    made, runner = workspace(root, container(), image(digest()), more=busy)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(HostError, match="nothing was stopped"):
        made.stop()
    assert capsys.readouterr().err.count("app train gpt2 (for 02:13:05)") == 1
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: "n")
    assert (made.stop(), steps(runner)) == (1, [])
    monkeypatch.setattr("builtins.input", lambda: "y")
    assert (made.stop(), steps(runner)) == (0, ["down"])
    assert (made.stop(yes=True), steps(runner)) == (0, ["down", "down"])


def test_down_asks_nothing_when_nothing_runs(root: Path) -> None:
    made, runner = workspace(root, container(), image(digest()), more={"docker top": IDLE})
    assert (made.stop(), steps(runner)) == (0, ["down"])


def test_a_cached_build_is_not_refused_for_lack_of_disk(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"Type": "Images", "Size": "1GB"}, {"Type": "Build Cache", "Size": "6.5GB"}]
    cache: dict[str, Answer] = {"docker system df": "\n".join(map(json.dumps, rows))}
    made, runner = workspace(root, free=1_000_000_000, more=cache)
    made.ensure()
    assert steps(runner) == ["buildx", "up"]
    assert "has 1.0 GB free" in capsys.readouterr().err


def test_state_tells_what_is_there(root: Path) -> None:
    made, _ = workspace(root, env={"COMPOSE_PROJECT_NAME": "mine"})
    assert made.state(made.plan) == [
        "image     gpu-workspace:cpu-dev: not built",
        "container mine-dev-1: none",
    ]
    made, _ = workspace(root, container(), image("older"))
    assert made.state(made.plan) == [
        "image     gpu-workspace:cpu-dev, not current: the next `invoke up` rebuilds it",
        f"container {BOX}: running, healthy",
    ]


def test_state_tells_what_runs_since_when_and_how_to_stop_it(root: Path) -> None:
    boxes = [
        {"Name": BOX, "Service": "dev", "State": "running", "Labels": "x=y,com.docker.compose.oneoff=False"},
        {"Name": "one", "Service": "dev", "State": "running", "Labels": "com.docker.compose.oneoff=True,x=y"},
        {"Name": "two", "Service": "notebook", "State": "running", "Labels": ""},
    ]
    single = "PID PPID ELAPSED COMMAND\n901 1 00:07 python app predict /data/x.txt\n"
    more: dict[str, Answer] = {
        "env": {"--hash": f"dev {HASH}\n", "ps --all": json.dumps(boxes)},  # an array, as before compose 2.21
        "docker top": {BOX: IDLE + TRAINING, "top one": single},
    }
    made, _ = workspace(root, container(), image(digest()), more=more)
    assert isinstance(made.world, FakeWorld)
    made.world.files["/proc/877/status"] = "Name:\tapp\nNSpid:\t877\t42\nThreads:\t1\n"
    assert made.state(made.plan)[2:] == [
        "running   /opt/venv/bin/python /opt/venv/bin/app train gpt2 (for 02:13:05);"
        f" stop: `docker exec {BOX} kill 42`",
        "running   python app predict /data/x.txt (for 00:07);"
        " follow: `docker attach --sig-proxy=false one`; stop: `docker stop one`",
        "          `invoke shell` opens a shell next to it, `invoke down` stops everything",
    ]
