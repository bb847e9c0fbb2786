"""The native environment: made once, reused, never half-made, never somebody else's."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from app.errors import HostError
from app.host.backends.commands import Command
from app.host.backends.native import Environment, Stamp
from app.host.plan.choose import Request, choose
from app.host.plan.wheels import fetch_obstacle, first_url
from app.host.probe.certificates import SYSTEM
from app.host.probe.machine import detect
from app.host.probe.pythons import PYTHON_BIN, find_python
from app.host.world import Completed
from tests.host.fake_world import CERTIFICATE, Answer, FakeWorld, nvidia_smi
from tests.host.recording import RecordingRunner

PYTHON_310: Mapping[str, Answer] = {"python3.10": "3.10.13\n"}
PYTHON_311: Mapping[str, Answer] = {"python3.11": "3.11.7\n"}
UV: Mapping[str, Answer] = {"uv": Completed(2, err="error: No interpreter found")}
URL_LOCK = "# by hand\ntorch @ https://wheels.example/whl/cpu/torch-2.0.1%2Bcpu-cp310.whl \\\n    --hash=sha256:00\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    locks = tmp_path / "docker" / "locks"
    locks.mkdir(parents=True)
    (locks / "torch-cpu.txt").write_text(URL_LOCK)
    (locks / "torch-cu118.txt").write_text(URL_LOCK.replace("cpu", "cu118"))
    (locks / "torch-cu117.txt").write_text("torch==2.0.1 \\\n    --hash=sha256:01\n")
    (locks / "dev.txt").write_text("numpy==1.26.4 \\\n    --hash=sha256:02\n")
    return tmp_path


def makes(root: Path) -> Callable[[Command], int]:
    """What uv leaves behind."""

    def react(command: Command) -> int:
        if command.argv[:2] == ("uv", "venv"):
            (root / command.argv[-1] / "bin").mkdir(parents=True)
            (root / command.argv[-1] / "bin" / "python").touch()
        return 0

    return react


def environment(
    root: Path,
    commands: Mapping[str, Answer],
    react: Callable[[Command], int] | None = None,
    request: Request | None = None,
    env: Mapping[str, str] | None = None,
    system: str = "Linux",
    dry: bool = False,
    free: int = 500_000_000_000,
) -> tuple[Environment, RecordingRunner]:
    world = FakeWorld(commands, env=env, system=system, free=free)
    host = detect(world)
    runner = RecordingRunner(root, react or makes(root), dry)
    return Environment(root, host, choose(host, request or Request(backend="native")), world, runner), runner


def yes(address: str) -> str:
    return ""


def no(address: str) -> str:
    return "Name or service not known"


def test_it_is_made_from_the_locks_and_reused(root: Path) -> None:
    made, runner = environment(root, {**PYTHON_310, **UV})
    stamp = made.ensure(yes)
    assert (stamp.variant, stamp.python) == ("cpu", "3.10.13")
    assert runner.lines == [
        "uv venv --relocatable --python /usr/bin/python3.10 --prompt gpu-workspace .venv.partial",
        "uv pip install --python .venv.partial/bin/python --no-deps --require-hashes "
        "--requirement docker/locks/torch-cpu.txt --requirement docker/locks/dev.txt",
        "UV_OFFLINE=1 uv pip install --python .venv.partial/bin/python --no-deps --no-build-isolation --editable .",
    ]
    assert not (root / ".venv.partial").exists()

    again, runner = environment(root, {**PYTHON_310, **UV})
    began = time.process_time()
    assert again.ensure(no) == stamp
    assert time.process_time() - began < 0.1
    assert runner.lines == []


def test_another_lock_or_variant_makes_it_anew(root: Path) -> None:
    environment(root, {**PYTHON_310, **UV})[0].ensure(yes)
    (root / "docker/locks/dev.txt").write_text("numpy==1.26.3 \\\n    --hash=sha256:03\n")
    changed, runner = environment(root, {**PYTHON_310, **UV})
    assert changed.current() is None
    changed.ensure(yes)
    assert len(runner.lines) == 3
    other, _ = environment(root, {**PYTHON_310, **UV}, request=Request("cu117", "native"))
    assert other.current() is None
    assert not (root / ".venv.old").exists()


def test_a_copy_of_the_checkout_or_a_python_that_went_makes_it_anew(root: Path) -> None:
    environment(root, {**PYTHON_310, **UV})[0].ensure(yes)
    copy = root.with_name("copy")
    shutil.copytree(root, copy)
    assert environment(copy, {**PYTHON_310, **UV})[0].current() is None
    (root / ".venv" / "bin" / "python").unlink()
    assert environment(root, {**PYTHON_310, **UV})[0].current() is None


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failed_installation_leaves_the_old_one_and_is_never_taken_for_whole(root: Path, failing: int) -> None:
    old = environment(root, {**PYTHON_310, **UV})[0].ensure(yes)
    (root / ".venv" / "mark").touch()
    (root / "docker/locks/dev.txt").write_text("changed")
    count = iter(range(3))
    broken, _ = environment(root, {**PYTHON_310, **UV}, lambda command: makes(root)(command) or next(count) == failing)
    with pytest.raises(HostError, match="what was downloaded is kept"):
        broken.ensure(yes)
    assert Stamp.read(root / ".venv") == old
    assert (root / ".venv" / "mark").exists()
    assert environment(root, {**PYTHON_310, **UV})[0].current() is None
    assert environment(root, {**PYTHON_310, **UV})[0].ensure(yes).lock != old.lock


def test_ctrl_c_leaves_nothing_that_looks_whole(root: Path) -> None:
    stopped, _ = environment(root, {**PYTHON_310, **UV}, lambda command: makes(root)(command) or 130)
    with pytest.raises(KeyboardInterrupt):
        stopped.ensure(yes)
    assert not (root / ".venv").exists()
    assert environment(root, {**PYTHON_310, **UV})[0].ensure(yes).variant == "cpu"


def test_a_venv_of_somebody_elses_is_left_alone(root: Path) -> None:
    (root / ".venv").mkdir()
    with pytest.raises(HostError, match="not made by this workspace"):
        environment(root, {**PYTHON_310, **UV})[0].ensure(yes)
    assert (root / ".venv").exists()


def test_no_uv_and_no_room_are_said_together(root: Path) -> None:
    with pytest.raises(HostError) as caught:
        environment(root, PYTHON_310, free=2_000_000_000)[0].ensure(yes)
    assert [p.fix for p in caught.value.problems] == ["pip install uv", "free some space on that disk"]


def test_wheels_out_of_reach_fall_back_from_cpu_and_are_not_asked_for_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, runner = environment(root, {**PYTHON_310, **UV})
    stamp = made.ensure(no)
    assert (stamp.wanted, stamp.variant) == ("cpu", "cu117")
    assert "docker/locks/torch-cu117.txt" in runner.lines[1]
    assert "out of reach (wheels.example: Name or service not known)" in capsys.readouterr().err
    again, runner = environment(root, {**PYTHON_310, **UV})
    assert again.ensure(no) == stamp
    assert runner.lines == []


def test_a_card_that_only_cu118_runs_has_no_fallback(root: Path) -> None:
    hopper = {**PYTHON_310, **UV, "nvidia-smi": nvidia_smi("NVIDIA H200", driver="535.104.05")}
    with pytest.raises(HostError, match="variant cu118 are out of reach"):
        environment(root, hopper)[0].ensure(no)
    ada = {**PYTHON_310, **UV, "nvidia-smi": nvidia_smi("NVIDIA L4", driver="535.104.05")}
    assert environment(root, ada)[0].ensure(no).variant == "cu117"


def test_other_platforms_take_the_default_index_without_asking(root: Path) -> None:
    mac, _ = environment(root, {**PYTHON_310, **UV}, system="Darwin")
    assert mac.ensure(lambda address: pytest.fail("asked")).variant == "cu117"


def test_python_310_comes_first_and_311_says_what_it_lacks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetched: dict[str, Answer] = {**PYTHON_311, **UV}

    def react(command: Command) -> int:
        if command.argv[:3] == ("uv", "python", "install"):
            return 1
        return makes(root)(command)

    stamp = environment(root, fetched, react)[0].ensure(yes)
    assert stamp.python == "3.11.7"
    assert "torch.compile is off" in capsys.readouterr().err


def test_no_python_says_how_to_get_one(root: Path) -> None:
    with pytest.raises(HostError, match=r"there is no Python 3\.10") as caught:
        environment(root, UV, lambda command: 1)[0].ensure(yes)
    assert "pyenv install 3.10" in caught.value.problems[0].fix


def test_pythons_are_found_on_path_under_pyenv_and_with_uv() -> None:
    shim = Completed(127, err="pyenv: python3.10: command not found")
    pyenv = [f"/p/versions/3.10.{n}/bin/python3.10" for n in (9, 13)]
    world = FakeWorld(
        {
            "python3.10": shim,
            "uv python find": "/home/me/.local/share/uv/python/cpython-3.10/bin/python3.10\n",
        },
        files=dict.fromkeys(pyenv, ""),
        env={"PYENV_ROOT": "/p"},
    )
    answers = {
        pyenv[1]: Completed(1, err="ModuleNotFoundError: No module named '_lzma'"),
        pyenv[0]: Completed(0, "3.10.9"),
    }
    recorded = world.run

    def run(argv: list[str], timeout: float = 10.0) -> Completed:
        return answers.get(argv[0]) or recorded(argv, timeout)

    world.run = run  # type: ignore[method-assign, assignment]
    found = find_python(world)
    assert found is not None
    assert (found.path, found.version, found.note) == (pyenv[0], "3.10.9", "")
    answers[pyenv[0]] = Completed(1)
    answers["/home/me/.local/share/uv/python/cpython-3.10/bin/python3.10"] = Completed(0, "3.10.16")
    found = find_python(world)
    assert found is not None
    assert found.version == "3.10.16"


def test_a_python_of_uvs_own_is_found_by_the_uv_beside_this_python() -> None:
    own = "/home/me/.local/share/uv/python/cpython-3.10/bin/python3.10"
    world = FakeWorld({"uv python find": f"{own}\n", "python3.10": "3.10.16\n"}, files={f"{PYTHON_BIN}/uv": ""})
    world.which = lambda name: None  # type: ignore[method-assign]
    found = find_python(world)
    assert found is not None
    assert (found.path, world.ran[0][0]) == (own, f"{PYTHON_BIN}/uv")


def test_uv_gets_what_only_pip_would_read(root: Path) -> None:
    env = {"PIP_INDEX_URL": "https://me:secret@mirror.example/simple", "PIP_CERT": "/ca.pem"}
    world = FakeWorld({**PYTHON_310, **UV}, files={"/ca.pem": CERTIFICATE, SYSTEM[0]: "system"}, env=env)
    host = detect(world)
    runner = RecordingRunner(root, makes(root))
    Environment(root, host, choose(host, Request(backend="native")), world, runner).ensure(yes)
    install = runner.commands[1]
    joined = root / ".cache" / "ca.pem"
    assert install.line.startswith(f"SSL_CERT_FILE={joined} REQUESTS_CA_BUNDLE={joined} uv pip install")
    assert joined.read_text() == f"system\n{CERTIFICATE}"
    assert install.background == {"UV_DEFAULT_INDEX": "https://me:secret@mirror.example/simple"}


def test_dry_makes_nothing(root: Path) -> None:
    _, runner = made = environment(root, {**PYTHON_310, **UV}, lambda command: 0, dry=True)
    made[0].ensure(yes)
    assert len(runner.lines) == 3
    assert sorted(path.name for path in root.iterdir()) == ["docker"]


def _make_slowly(root: Path, count: object) -> None:
    def react(command: Command) -> int:
        time.sleep(0.1)
        count.value += 1  # type: ignore[attr-defined]
        return makes(root)(command)

    environment(root, {**PYTHON_310, **UV}, react)[0].ensure(yes)


def test_two_at_once_make_one(root: Path) -> None:
    context = multiprocessing.get_context("fork")
    count = context.Value("i", 0)
    processes = [context.Process(target=_make_slowly, args=(root, count)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert count.value == 3
    assert Stamp.read(root / ".venv") is not None


def test_the_real_locks_name_their_site_or_their_index() -> None:
    locks = Path(__file__).parents[3] / "docker" / "locks"
    assert first_url((locks / "torch-cpu.txt").read_text()).endswith(".whl")
    assert first_url((locks / "torch-cu117.txt").read_text()) == ""


def test_an_address_without_a_listener_is_out_of_reach() -> None:
    assert "refused" in fetch_obstacle("http://127.0.0.1:9/torch.whl")
