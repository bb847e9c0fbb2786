"""What nvidia-smi prints when something is wrong: rows are read as rows, whatever stands among them."""

from __future__ import annotations

import pytest

from app.host.probe.gpus import NOT_ASKED, Gpus, MigDevice, detect_gpus
from app.host.world import TIMED_OUT, Completed
from tests.host.fake_world import FakeWorld
from tests.host.recorded_hosts import world_of

ROW = "0, Tesla T4, GPU-1, 535.161.07, 15360, 7.5\n"
WARNING = "WARNING: infoROM is corrupted at gpu 0000:00:1E.0\n"


def gpus_of(answer: Completed) -> Gpus:
    return detect_gpus(FakeWorld({"nvidia-smi": {"--query-gpu": answer}}))


@pytest.mark.parametrize(
    "answer",
    [
        Completed(14, ROW + WARNING),
        Completed(14, WARNING + "\n" + ROW),
        Completed(0, ROW, WARNING),
    ],
    ids=["after the rows, exit 14", "before the rows", "on standard error"],
)
def test_a_warning_is_no_card_and_hides_none(answer: Completed) -> None:
    found = gpus_of(answer)
    assert [(card.index, card.name) for card in found.cards] == [(0, "Tesla T4")]
    assert found.notes == (WARNING.strip(),)
    assert (found.driver, found.error, found.reason) == ("535.161.07", "", "")


@pytest.mark.parametrize("gone", ["[GPU is lost]", "[Unknown Error]", "ERR!"])
def test_a_card_whose_row_has_no_values_is_no_card(gone: str) -> None:
    found = gpus_of(Completed(15, ", ".join(["0", *[gone] * 5]) + "\n" + ROW.replace("0,", "1,", 1)))
    assert [card.index for card in found.cards] == [1]
    assert found.notes == (f"GPU 0 does not answer: {gone.strip('[]')}",)
    assert found.driver == "535.161.07"


def test_unified_memory_has_no_size() -> None:
    (card,) = detect_gpus(world_of("jetson-orin")).cards
    assert (card.memory_mib, card.capability) == (None, (8, 7))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Completed(-11), "nvidia-smi was killed by signal 11"),
        (Completed(TIMED_OUT, err="nvidia-smi did not answer within 20 s and cannot be killed"), "cannot be killed"),
    ],
)
def test_a_crash_is_told_from_a_machine_without_a_card(answer: Completed, said: str) -> None:
    found = gpus_of(answer)
    assert found.crashed
    assert said in found.reason
    assert not gpus_of(Completed(9, "NVIDIA-SMI has failed because it couldn't communicate\n")).crashed


def test_nvidia_smi_is_not_run_if_no_card_is_wanted() -> None:
    world = world_of("smi-hangs")
    found = detect_gpus(world, ask=False)
    assert world.ran == []
    assert (found.cards, found.reason, found.pci) == ((), NOT_ASKED, ("0000:01:00.0",))


def test_the_parts_of_a_split_card() -> None:
    (card,) = detect_gpus(world_of("mig")).cards
    assert card.parts == (
        MigDevice("3g.20gb", "MIG-c7384736-a75d-5afc-978f-d2f1294409fd"),
        MigDevice("1g.5gb", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"),
    )


def test_only_cards_that_can_be_split_are_asked_for_parts() -> None:
    world = world_of("l4")
    detect_gpus(world)
    assert [argv[1] for argv in world.ran if argv[1] == "-L"] == []
