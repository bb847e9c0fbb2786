"""The table of variants follows the rules of CUDA, drivers and NVIDIA's images."""

from __future__ import annotations

import pytest

from app.errors import HostError
from app.host.variants import VARIANTS, code_for, parse_version, variant, variant_for


@pytest.mark.parametrize(
    ("capability", "cu117", "cu118"),
    [
        ((3, 5), None, None),
        ((3, 7), "sm_37", "sm_37"),
        ((5, 2), "sm_50", "sm_50"),
        ((6, 1), "sm_60", "sm_60"),
        ((7, 0), "sm_70", "sm_70"),
        ((7, 5), "sm_75", "sm_75"),
        ((8, 0), "sm_80", "sm_80"),
        ((8, 6), "sm_86", "sm_86"),
        ((8, 9), "sm_86", "sm_86"),
        ((9, 0), None, "sm_90"),
        ((10, 0), None, None),
        ((12, 0), None, None),
    ],
)
def test_the_code_that_a_card_runs(capability: tuple[int, int], cu117: str | None, cu118: str | None) -> None:
    assert VARIANTS["cu117"].kernel_for(capability) == cu117
    assert VARIANTS["cu118"].kernel_for(capability) == cu118
    assert VARIANTS["cpu"].kernel_for(capability) is None


@pytest.mark.parametrize(
    ("archs", "capability", "code"),
    [
        (("sm_80", "compute_90"), (12, 0), "compute_90"),
        (("sm_80", "compute_90"), (8, 6), "sm_80"),
        (("compute_90",), (8, 9), None),
        (("sm_90a", "sm_120"), (12, 1), "sm_120"),
        (("sm_80", "sm_86", "compute_86"), (8, 9), "sm_86"),
        (("sm_80", "gfx90a", "sm_"), (8, 0), "sm_80"),
    ],
)
def test_ptx_runs_on_newer_cards_and_machine_code_is_preferred(
    archs: tuple[str, ...], capability: tuple[int, int], code: str | None
) -> None:
    assert code_for(archs, capability) == code


def test_the_variant_must_run_every_card() -> None:
    assert variant_for([(7, 5), (9, 0)]) is VARIANTS["cu118"]
    assert variant_for([(9, 0), (12, 0)]) is None


@pytest.mark.parametrize(
    ("driver", "runs", "native", "gate"),
    [
        ("440.33.01", False, False, False),
        ("450.51.05", False, False, False),
        ("450.80.02", True, False, False),
        ("470.239.06", True, False, True),
        ("510.47.03", True, False, False),
        ("515.65.01", True, False, False),
        ("520.56.06", True, False, True),
        ("520.61.05", True, True, True),
        ("580.126.09", True, True, True),
    ],
)
def test_drivers_of_cu118(driver: str, runs: bool, native: bool, gate: bool) -> None:
    drivers = VARIANTS["cu118"].drivers
    assert drivers is not None
    assert (drivers.runs(driver), drivers.is_native(driver), drivers.passes_gate(driver)) == (runs, native, gate)


def test_cu117_starts_on_r515_without_disable_require() -> None:
    drivers = VARIANTS["cu117"].drivers
    assert drivers is not None
    assert drivers.passes_gate("515.48.07")
    assert drivers.is_native("515.48.07")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("535.104.05", (535, 104, 5)), ("26.1.5+dfsg1", (26, 1, 5)), ("v2.26.1-4", (2, 26, 1)), ("[N/A]", ()), ("", ())],
)
def test_versions_compare_by_number(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_version(text) == numbers


def test_an_unknown_variant_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HostError, match="cu118, cu117, cpu"):
        variant("cu119")


def test_bases_with_a_published_digest_are_pinned() -> None:
    cu118 = VARIANTS["cu118"]
    assert all("@sha256:" in base for base in (cu118.runtime_base, cu118.dev_base, cu118.slim_base))
