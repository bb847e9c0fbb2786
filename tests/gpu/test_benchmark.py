"""The benchmark on a real card: no figure exceeds the datasheet, and a profiler agrees with the diagnosis."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from app.benchmark import noise  # noqa: E402
from app.benchmark.budget import Budget  # noqa: E402
from app.benchmark.kernels import matmul, memory  # noqa: E402
from app.benchmark.limits import Limits  # noqa: E402
from app.benchmark.machine import hardware, state  # noqa: E402
from app.benchmark.steps.peak_memory import PeakMemory  # noqa: E402
from app.benchmark.steps.prepared import PreparedStep, typical  # noqa: E402
from app.benchmark.steps.recipe import measure_recipe  # noqa: E402
from app.benchmark.timer import clock_for, measure  # noqa: E402
from app.config import load  # noqa: E402
from app.finetune.session import prepare  # noqa: E402

GPU = torch.device("cuda", 0)


def test_events_and_the_host_agree_on_a_long_kernel() -> None:
    a = torch.randn(4096, 4096, device=GPU)

    def call() -> object:
        out = a @ a
        torch.cuda.synchronize()
        return out

    events = measure({"x": lambda: a @ a}, clock_for(GPU), 1.0)["x"].median
    host = measure({"x": call}, clock_for(torch.device("cpu")), 1.0)["x"].median
    assert events == pytest.approx(host, rel=0.15)


def test_a_flushed_kernel_reads_memory_and_not_the_cache() -> None:
    small = torch.randn(1 << 20, device=GPU)  # 4 MB: in L2 unless it is flushed
    out = torch.empty_like(small)
    cold = measure({"x": lambda: out.copy_(small)}, clock_for(GPU, flush=True), 1.0)["x"].median
    warm = measure({"x": lambda: out.copy_(small)}, clock_for(GPU), 1.0)["x"].median
    assert cold > warm


def test_no_rate_exceeds_the_datasheet_and_the_best_is_near_it() -> None:
    limits, budget = Limits.of(GPU), Budget(120)
    kernels = [*matmul.sweep(GPU, limits, budget, 30), *memory.bandwidth(GPU, limits, budget, 4)]
    shares: dict[str, float] = {}
    for kernel in kernels:
        for figure in kernel.figures.values():
            if figure.share is not None:
                key = f"{kernel.group} {kernel.precision}"
                shares[key] = max(shares.get(key, 0.0), figure.share)
    if not shares:
        pytest.skip(f"{limits.no_peak}: nothing to compare the figures with")
    assert all(share <= 1.02 for share in shares.values()), shares
    assert shares["memory fp32"] > 0.75
    assert shares.get("matmul bf16", shares.get("matmul fp16", 1.0)) > 0.55


def test_transfers_from_pinned_memory_are_no_slower() -> None:
    kernels = {kernel.name: kernel.work.seconds for kernel in memory.transfers(GPU, Budget(60), 6)}
    assert kernels["transfer host to device pinned"] <= 1.1 * kernels["transfer host to device pageable"]


def test_the_card_and_its_state_are_recorded() -> None:
    assert hardware(GPU)["compute capability"]
    seen = state(GPU)
    assert "unknown" in seen or "MHz" in seen["graphics clock"]


def test_noise_is_measured_on_the_card() -> None:
    assert noise.assess([noise.sample(GPU, 1.0), noise.sample(GPU, 1.0)]).spread.value >= 0


def test_peak_memory_sees_an_allocation() -> None:
    with PeakMemory(GPU) as peak:
        torch.empty(256 << 20, dtype=torch.uint8, device=GPU)
    assert peak.bytes is not None and 256 << 20 <= peak.bytes < 300 << 20


def test_a_step_in_fp16_takes_the_scalers_factor_out_once() -> None:
    session = prepare(load("gpt-char", ["trainer.precision=fp16"]))
    loop = PreparedStep(session)
    assert getattr(session.step.optimizer, "_step_supports_amp_scaling", False), "AdamW on a card is the fused one"
    before = [parameter.detach().clone() for parameter in session.model.parameters()]
    batches = [batch for batch, _ in zip(session.train_loader, range(5))]
    for batch in batches:
        loop.step([batch])
    assert any(not torch.equal(old, new) for old, new in zip(before, session.model.parameters()))


def device_shares(loop: PreparedStep, micro: Any) -> tuple[float, float]:
    """Return the shares of a step's time in which the device is busy and multiplies, as the profiler measures them."""
    from torch.profiler import ProfilerActivity, profile

    timing = measure({"step": lambda: loop.step(micro)}, clock_for(GPU), 1.0)["step"]
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as trace:
        for _ in range(5):
            loop.step(micro)
        torch.cuda.synchronize()
    kernels = [event for event in trace.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 5e6
    words = ("gemm", "cutlass", "nvjet", "fmha", "flash", "sm80_x", "sm90_x")
    products = [event for event in kernels if any(word in event.name.lower() for word in words)]
    return busy / timing.median, sum(event.time_range.elapsed_us() for event in products) / 5e6 / timing.median


def test_the_diagnosis_agrees_with_a_profiler() -> None:
    settings = ["trainer.precision=tf32" if torch.cuda.get_device_capability() >= (8, 0) else "trainer.precision=fp32"]
    datasheet, budget = Limits.of(GPU), Budget(300)
    kernels = [*matmul.sweep(GPU, datasheet, budget, 20), *memory.bandwidth(GPU, datasheet, budget, 3)]
    limits = datasheet.with_measured(kernels)
    measured = measure_recipe("gpt-char", settings, limits, budget)
    assert measured.diagnosis is not None
    session = prepare(load("gpt-char", settings))
    loop = PreparedStep(session)
    busy, products = device_shares(loop, typical([next(iter(session.train_loader))], 1))
    bound = measured.diagnosis.parts[0].bound
    if busy < 0.5:
        assert bound in ("launch", "input"), "the device is idle most of the time"
    else:
        assert bound == ("compute" if products > busy / 2 else "memory")
