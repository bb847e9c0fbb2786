"""The diagnosis names what really holds a step back, and the lever that really moves it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.benchmark.steps.diagnose import Findings, diagnose, levers, shares
from tests.benchmark.made import step

# A step of 50 ms on a machine of 100 GFLOP/s and 20 GB/s in which nothing much happens: 5 ms of each.
BASE = Findings(
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


def largest(found: Findings) -> tuple[Any, Any]:
    return next(iter(shares(found).items()))


@pytest.mark.parametrize(
    ("found", "bound", "share"),
    [
        (replace(BASE, product_flops=4e9), "compute", 0.8),
        (replace(BASE, step=step(seconds=0.05, moved=850e6)), "memory", 0.8),
        (replace(BASE, host_seconds=0.04), "launch", 0.8),
        (replace(BASE, input_seconds=0.2), "input", 0.8),
        (replace(BASE, product_flops=4e9, useful_share=0.25), "padding", 0.6),
    ],
)
def test_the_bound_is_the_largest_part(found: Findings, bound: str, share: float) -> None:
    assert largest(found) == (bound, pytest.approx(share))
    said = diagnose(found, [found.step], {})
    assert f"is {bound}-bound: {share:.0%}" in said.sentence
    part = said.parts[0]
    assert (str(part.bound), part.share.unit) == (bound, "%")
    assert part.share.value == pytest.approx(100 * share)
    assert part.share.low < part.share.value < part.share.high and part.share.n == found.step.work.time.n


@given(
    st.floats(0.01, 1),
    st.floats(0, 1e11),
    st.floats(0, 1e10),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
)
def test_the_parts_never_exceed_the_whole(
    useful: float, flops: float, moved: float, host: float, waiting: float, overlapped: bool, compiled: bool
) -> None:
    found = replace(
        BASE,
        useful_share=useful,
        product_flops=flops,
        step=step(seconds=0.05, moved=moved, compiled=compiled),
        host_seconds=host,
        input_seconds=waiting,
        overlapped=overlapped,
    )
    found_shares = shares(found).values()
    assert all(share >= 0 for share in found_shares)
    assert sum(found_shares) <= 1 + 1e-9


def test_on_a_gpu_the_host_counts_only_where_it_is_the_slower_one() -> None:
    hidden = replace(BASE, overlapped=True, host_seconds=0.03)
    assert shares(hidden)["launch"] == 0
    slower = replace(BASE, overlapped=True, host_seconds=0.049)
    assert largest(slower) == ("launch", pytest.approx(0.8)), "all that the device's work does not explain"


def test_a_setting_that_was_measured_counts_with_what_it_gained() -> None:
    faster = step("bf16", compiled=True, seconds=0.025)
    best = levers(BASE, [BASE.step, faster], {})[0]
    assert (best.what, best.measured) == ("trainer.precision=bf16 trainer.compile=true", True)
    assert best.gain.value == pytest.approx(2.0) and best.gain.low < 2.0 < best.gain.high


def test_a_setting_that_was_not_measured_counts_with_the_most_it_could_gain() -> None:
    found = replace(BASE, step=step("fp32", seconds=0.05, moved=150e6), product_flops=4e9)
    gains = {lever.what: lever.gain.value for lever in levers(found, [found.step], {"fp32": 100e9, "bf16": 400e9})}
    assert gains["trainer.precision=bf16"] == pytest.approx(1 / (1 - 0.8 * 0.75))
    assert "at most" in diagnose(found, [found.step], {"bf16": 400e9}).sentence


def test_what_gains_nothing_is_no_lever() -> None:
    slower = step("fp32", seconds=0.2)
    assert all(lever.what != "trainer.precision=fp32 trainer.compile=false" for lever in levers(BASE, [slower], {}))
    gains = [lever.gain.value for lever in levers(BASE, [slower], {})]
    assert gains == sorted(gains, reverse=True)


def test_workers_are_no_lever_where_there_are_some() -> None:
    waiting = replace(BASE, input_seconds=0.2)
    assert levers(waiting, [], {})[0].what == "trainer.workers=2"
    assert all(lever.what != "trainer.workers=2" for lever in levers(replace(waiting, workers=4), [], {}))


def test_a_step_that_no_limit_explains_says_so() -> None:
    slow = replace(BASE, step=step(seconds=1.0, moved=150e6))
    assert "as far as limits explain it; 9" in diagnose(slow, [slow.step], {}).sentence


COMPILED = replace(BASE, step=step(seconds=0.05, moved=150e6, compiled=True))


def test_what_a_compiled_step_moves_is_at_most_what_the_products_leave() -> None:
    found = replace(COMPILED, step=step(seconds=0.05, moved=10e9, compiled=True), product_flops=2e9, host_seconds=None)
    assert shares(found)["compute"] == pytest.approx(0.4), "eager's traffic takes nothing away from the products"
    assert shares(found)["memory"] == pytest.approx(0.6)
    sentence = diagnose(found, [found.step], {}).sentence
    assert "at most 60%" in sentence and "upper bound" in sentence
    slow = replace(found, step=step(seconds=5.0, moved=150e6, compiled=True))
    assert "dispatching or kernels that run below" in diagnose(slow, [slow.step], {}).sentence


def test_a_compiled_step_that_waits_for_its_host_is_launch_bound() -> None:
    found = replace(COMPILED, overlapped=True, host_seconds=0.049)
    assert largest(found) == ("launch", pytest.approx(0.9))
    assert shares(replace(found, host_seconds=0.01))["launch"] == 0
