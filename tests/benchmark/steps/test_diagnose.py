"""The diagnosis names the largest part of a step's time, and the lever with the largest gain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.benchmark.report.markdown import diagnosis_rows
from app.benchmark.steps.diagnose import diagnose, levers, time_shares
from app.benchmark.steps.profile import StepProfile
from tests.benchmark.sample_results import step

# A step of 50 ms on a machine of 100 GFLOP/s and 20 GB/s, with 5 ms each of compute, memory and launch.
BASE = StepProfile(
    step=step(seconds=0.05, moved=150e6),
    useful_share=1.0,
    product_flops=0.5e9,
    product_bytes=50e6,
    matmul_rate=100e9,
    bandwidth=20e9,
    host_seconds=0.005,
    overlapped=False,
    input_seconds=0.0,
    workers=0,
)


def largest_share(profile: StepProfile) -> tuple[Any, Any]:
    return next(iter(time_shares(profile).items()))


@pytest.mark.parametrize(
    ("profile", "bound", "share"),
    [
        (replace(BASE, product_flops=4e9), "compute", 0.8),
        (replace(BASE, step=step(seconds=0.05, moved=850e6)), "memory", 0.8),
        (replace(BASE, host_seconds=0.04), "launch", 0.8),
        (replace(BASE, input_seconds=0.2), "input", 0.8),
        (replace(BASE, product_flops=4e9, useful_share=0.25), "padding", 0.6),
    ],
)
def test_the_bound_is_the_largest_part(profile: StepProfile, bound: str, share: float) -> None:
    assert largest_share(profile) == (bound, pytest.approx(share))
    diagnosis = diagnose(profile, [profile.step], {})
    assert f"is {bound}-bound: {share:.0%}" in diagnosis.sentence
    part = diagnosis.parts[0]
    assert (str(part.bound), part.share.unit) == (bound, "%")
    assert part.share.value == pytest.approx(100 * share)
    assert part.share.low < part.share.value < part.share.high and part.share.n == profile.step.work.time.n


@given(
    st.floats(0.01, 1),
    st.floats(0, 1e11),
    st.floats(0, 1e10),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
)
def test_the_shares_never_exceed_the_whole(
    useful: float, flops: float, moved: float, host: float, waiting: float, overlapped: bool, compiled: bool
) -> None:
    profile = replace(
        BASE,
        useful_share=useful,
        product_flops=flops,
        step=step(seconds=0.05, moved=moved, compiled=compiled),
        host_seconds=host,
        input_seconds=waiting,
        overlapped=overlapped,
    )
    parts = time_shares(profile).values()
    assert all(share >= 0 for share in parts)
    assert sum(parts) <= 1 + 1e-9


def test_on_a_gpu_the_host_counts_only_if_it_is_slower_than_the_device() -> None:
    hidden = replace(BASE, overlapped=True, host_seconds=0.03)
    assert time_shares(hidden)["launch"] == 0
    slower = replace(BASE, overlapped=True, host_seconds=0.049)
    assert largest_share(slower) == ("launch", pytest.approx(0.8)), "the time that the device's work does not explain"


def test_the_gain_of_a_timed_setting_is_the_measured_one() -> None:
    faster = step("bf16", compiled=True, seconds=0.025)
    best = levers(BASE, [BASE.step, faster], {})[0]
    assert (best.what, best.measured) == ("trainer.precision=bf16 trainer.compile=true", True)
    sentence = diagnose(BASE, [BASE.step, faster], {}).sentence
    assert "Largest lever: trainer.precision=bf16 trainer.compile=true, 2.00 times as fast (measured)." in sentence
    assert best.gain.value == pytest.approx(2.0) and best.gain.low < 2.0 < best.gain.high


def test_the_gain_of_an_untimed_setting_is_an_upper_estimate() -> None:
    profile = replace(BASE, step=step("fp32", seconds=0.05, moved=150e6), product_flops=4e9)
    gains = {lever.what: lever.gain.value for lever in levers(profile, [profile.step], {"fp32": 100e9, "bf16": 400e9})}
    assert gains["trainer.precision=bf16"] == pytest.approx(1 / (1 - 0.8 * 0.75))


def test_no_gain_is_promised_that_was_not_measured() -> None:
    """Compiling would remove all launches and traffic; on a CPU it was slower whenever it was tried."""
    launching = replace(BASE, host_seconds=0.04)
    found = diagnose(launching, [launching.step], {})
    assert "trainer.compile=true" in [lever.what for lever in found.levers]
    assert "Not measured, and worth a try: trainer.compile=true" in found.sentence
    assert "times as fast" not in found.sentence and "at most" not in found.sentence
    assert "No setting measured here makes it faster" in found.sentence
    assert not [row for row in diagnosis_rows([found]) if row.figure.startswith("with ")]


def test_a_measured_gain_comes_before_a_larger_estimate() -> None:
    launching, other = replace(BASE, host_seconds=0.045), step("fp32", seconds=0.045)
    found = levers(launching, [launching.step, other], {})
    assert found[0].measured and found[0].gain.value < found[1].gain.value


def test_a_setting_without_a_gain_is_no_lever() -> None:
    slower = step("fp32", seconds=0.2)
    assert all(lever.what != "trainer.precision=fp32 trainer.compile=false" for lever in levers(BASE, [slower], {}))
    gains = [lever.gain.value for lever in levers(BASE, [slower], {})]
    assert gains == sorted(gains, reverse=True), "none of them is measured"


def test_workers_are_no_lever_if_there_are_some_already() -> None:
    waiting = replace(BASE, input_seconds=0.2)
    assert levers(waiting, [], {})[0].what == "trainer.workers=2"
    assert all(lever.what != "trainer.workers=2" for lever in levers(replace(waiting, workers=4), [], {}))


def test_the_unexplained_share_of_a_step_is_in_the_sentence() -> None:
    slow = replace(BASE, step=step(seconds=1.0, moved=150e6))
    assert "as far as limits explain it; 9" in diagnose(slow, [slow.step], {}).sentence


COMPILED = replace(BASE, step=step(seconds=0.05, moved=150e6, compiled=True))


def test_a_compiled_steps_memory_share_is_at_most_what_the_products_leave() -> None:
    profile = replace(
        COMPILED, step=step(seconds=0.05, moved=10e9, compiled=True), product_flops=2e9, host_seconds=None
    )
    assert time_shares(profile)["compute"] == pytest.approx(0.4), "eager's traffic does not reduce the products' share"
    assert time_shares(profile)["memory"] == pytest.approx(0.6)
    sentence = diagnose(profile, [profile.step], {}).sentence
    assert "at most 60%" in sentence and "upper bound" in sentence
    slow = replace(profile, step=step(seconds=5.0, moved=150e6, compiled=True))
    assert "dispatching or kernels that run below" in diagnose(slow, [slow.step], {}).sentence


def test_a_compiled_step_that_waits_for_its_host_is_launch_bound() -> None:
    profile = replace(COMPILED, overlapped=True, host_seconds=0.049)
    assert largest_share(profile) == ("launch", pytest.approx(0.9))
    assert time_shares(replace(profile, host_seconds=0.01))["launch"] == 0
