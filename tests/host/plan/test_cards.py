"""The cards that the user names, by `--gpus` or CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest

from app.errors import HostError
from app.host.plan.cards import select, wanted
from app.host.plan.choose import Plan, Request, choose
from app.host.probe.machine import ROOT, Host, detect
from app.host.workspace import describe, open_workspace
from tests.host.fake_world import NVIDIA_RUNTIME, FakeWorld, docker_info
from tests.host.recorded_hosts import world_of
from tests.host.recording import RecordingRunner

UUIDS = [f"GPU-3f2c1a0{i}-1c5d-4b7e-9a31-5d0e7c6b8a0{i}" for i in range(3)]
PART = "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"


def machine(visible: str | None = None, name: str = "NVIDIA L4", capability: str = "8.9") -> Host:
    rows = "".join(f"{i}, {name}, {UUIDS[i]}, 535.104.05, 23034, {capability}\n" for i in range(3))
    info = docker_info(Runtimes=NVIDIA_RUNTIME, CgroupDriver="cgroupfs")
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return detect(FakeWorld({"nvidia-smi": {"--query-gpu": rows}, "docker info": info}, env=env))


def plan(visible: str | None = None, gpus: str = "all") -> Plan:
    return choose(machine(visible), Request(gpus=gpus))


@pytest.mark.parametrize(
    ("text", "indices", "names"),
    [
        ("2", [2], "2"),
        ("2,0", [2, 0], "2,0"),
        ("0, 0 ,1,0", [0, 1], "0,1"),
        ("1,", [1], "1"),
        (UUIDS[1], [1], UUIDS[1]),
        ("GPU-3f2c1a02", [2], UUIDS[2]),
        ("gpu-3F2C1A02", [2], UUIDS[2]),
        (f"{UUIDS[0]},0", [0], UUIDS[0]),
        (f"2,{UUIDS[0]}", [2, 0], f"{UUIDS[2]},{UUIDS[0]}"),
    ],
)
def test_cards_by_number_and_by_id_each_once(text: str, indices: list[int], names: str) -> None:
    by_flag, by_variable = plan(gpus=text), plan(visible=text)
    for made in (by_flag, by_variable):
        assert [card.index for card in made.cards] == indices
        assert made.visible == names


def test_the_flag_wins_over_the_variable() -> None:
    assert plan(visible="2", gpus="0").visible == "0"
    assert plan(visible="", gpus="0").visible == "0"
    assert plan(visible="2", gpus="none").visible == ""


@pytest.mark.parametrize("hides", ["", "-1", " ", "NoDevFiles", "-1,0"])
def test_a_variable_that_hides_every_card_is_a_choice_of_none(hides: str) -> None:
    made = plan(visible=hides)
    assert (made.variant.name, made.gpu_mode, made.visible) == ("cpu", "none", "")
    assert made.why_gpus == "CUDA_VISIBLE_DEVICES hides every card"


def test_cuda_stops_at_the_first_minus_one() -> None:
    assert wanted("all", {"CUDA_VISIBLE_DEVICES": "0, -1, 1"}) == ("0", "CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("visible", "said"),
    [
        ("7", "CUDA_VISIBLE_DEVICES=7: no GPU 7: there are 0, 1, 2"),
        ("0,7,9", "no GPU 7: there are 0, 1, 2; no GPU 9"),
        ("GPU-ffff", f"no GPU GPU-ffff: there are {UUIDS[0]}, "),
        ("GPU-3f2c1a0", "GPU-3f2c1a0 is the beginning of more than one id"),
        ("GPU-", "no GPU GPU-: there are"),
        (PART, f"no GPU {PART}: there is none"),
        ("0-2", "no GPU 0-2: there are 0, 1, 2"),
        ("all", "no GPU all"),
        (",", "no GPU ,: there are 0, 1, 2"),
    ],
)
def test_a_name_that_is_no_card_here_is_refused_with_those_that_are(visible: str, said: str) -> None:
    with pytest.raises(HostError) as caught:
        plan(visible=visible)
    (problem,) = caught.value.problems
    assert said in problem.what
    assert "unset CUDA_VISIBLE_DEVICES" in problem.fix


def test_the_variable_does_not_matter_on_a_machine_without_cards() -> None:
    host = detect(FakeWorld({"docker info": docker_info()}, env={"CUDA_VISIBLE_DEVICES": "0"}))
    made = choose(host, Request())
    assert (made.variant.name, made.visible, made.warnings) == ("cpu", None, ())


def test_a_named_card_that_runs_nothing_is_refused_and_an_unnamed_one_left_out() -> None:
    host = detect(world_of("visible-index"))
    assert choose(host, Request(gpus="0,1")).visible == "0,1"
    with pytest.raises(HostError, match="Blackwell"):
        choose(host, Request(gpus="2,3"))
    assert choose(host, Request()).visible == "2"


def test_a_mig_device_is_passed_on_by_its_id() -> None:
    host = detect(world_of("mig"))
    made = choose(host, Request(gpus=PART))
    assert ([card.index for card in made.cards], made.visible, made.warnings) == ([0], PART, ())
    assert select(host, f"{PART},{PART}").names == (PART,)
    both = select(host, ",".join(part.uuid for part in host.gpus.cards[0].parts))
    assert (len(both.cards), len(both.names)) == (1, 2)
    (warning,) = choose(host, Request()).warnings
    assert "of which a process uses one" in warning.what


def test_the_choice_is_shown_and_passed_on() -> None:
    host = machine("2")
    made = choose(host, Request())
    assert "used: 2" in "\n".join(describe(host, made))
    assert "used" not in "\n".join(describe(machine(), plan()))


@pytest.mark.parametrize("request_", [Request(gpus="none"), Request(variant="cpu")])
def test_a_driver_that_hangs_does_not_matter_if_no_card_is_wanted(request_: Request) -> None:
    world = world_of("smi-hangs")
    workspace = open_workspace(request_, RecordingRunner(ROOT), world)
    assert workspace.plan.variant.name == "cpu"
    assert not [argv for argv in world.ran if "nvidia-smi" in argv[0]]


def test_a_variable_that_hides_every_card_spares_the_driver_too() -> None:
    world = world_of("visible-empty")
    workspace = open_workspace(Request(), RecordingRunner(ROOT), world)
    assert workspace.plan.visible == ""
    assert not [argv for argv in world.ran if "nvidia-smi" in argv[0]]
