"""Two results differ if they differ by more than the noise, and are refused if they cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.benchmark.figure import Figure
from app.benchmark.report.compare import compare_figures, comparison_table, missing_figures, require_comparable
from app.benchmark.results import BenchmarkResult, write
from app.cli.bench import main as bench
from app.errors import ConfigError
from tests.benchmark.sample_results import noisy, result

BF16 = "matmul bf16 2048x2048x2048 rate"


def verdicts(first: BenchmarkResult, second: BenchmarkResult) -> dict[str, str]:
    return {item.name: item.verdict for item in compare_figures(first, second)}


def test_a_result_is_the_same_as_itself() -> None:
    assert set(verdicts(result(), result()).values()) == {"same"}


@pytest.mark.parametrize(("rate", "verdict"), [(101.0, "same"), (90.0, "worse"), (110.0, "better")])
def test_a_rate_that_falls_is_worse(rate: float, verdict: str) -> None:
    assert verdicts(result(100.0), result(rate))[BF16] == verdict


def test_a_time_that_falls_is_better() -> None:
    before = result()
    steps = tuple(
        replace(step, figures={"time": replace(step.figures["time"], value=step.figures["time"].value * 0.8)})
        for step in before.steps
    )
    after = verdicts(before, replace(before, steps=steps))
    assert after["sentiment bf16 eager time"] == "better"


def test_the_noise_of_either_machine_hides_a_difference() -> None:
    assert verdicts(result(100.0), result(93.0))[BF16] == "worse"
    assert verdicts(noisy(result(100.0)), result(93.0))[BF16] == "same"
    assert verdicts(result(100.0), noisy(result(93.0)))[BF16] == "same"


def test_the_spread_of_few_samples_hides_a_difference() -> None:
    def spread(before: BenchmarkResult) -> BenchmarkResult:
        kernels = tuple(
            replace(
                k, figures={n: replace(f, low=0.7 * f.value, high=1.3 * f.value, n=5) for n, f in k.figures.items()}
            )
            for k in before.kernels
        )
        return replace(before, kernels=kernels)

    assert verdicts(spread(result(100.0)), spread(result(93.0)))[BF16] == "same"


def in_tera(before: BenchmarkResult) -> BenchmarkResult:
    def changed(figure: Figure) -> Figure:
        if figure.unit != "GFLOP/s":
            return figure
        return replace(figure, unit="TFLOP/s", value=figure.value / 1e3, low=figure.low / 1e3, high=figure.high / 1e3)

    kernels = tuple(replace(k, figures={n: changed(f) for n, f in k.figures.items()}) for k in before.kernels)
    return replace(before, kernels=kernels)


def test_figures_in_different_units_are_converted_or_not_judged() -> None:
    assert verdicts(result(100.0), in_tera(result(100.0)))[BF16] == "same"
    assert verdicts(in_tera(result(100.0)), result(50.0))[BF16] == "worse"
    kernels = tuple(
        replace(k, figures={n: replace(f, unit="pages/s") for n, f in k.figures.items()}) for k in result().kernels
    )
    found = {item.name: item for item in compare_figures(result(), replace(result(), kernels=kernels))}
    assert (found[BF16].verdict, found[BF16].change) == ("not judged", None)
    assert "other units" in comparison_table([found[BF16]])


def test_a_figure_read_once_is_shown_but_not_judged() -> None:
    def once(before: BenchmarkResult) -> BenchmarkResult:
        return replace(before, measured_peaks={p: replace(f, n=1) for p, f in before.measured_peaks.items()})

    assert verdicts(once(result(100.0)), once(result(50.0)))["peak fp32"] == "not judged"


def test_every_reason_against_a_comparison_is_listed() -> None:
    other = replace(result(), benchmark_version=99, hardware={"device": "Another", "threads": "4"})
    with pytest.raises(ConfigError) as caught:
        require_comparable(result(), other)
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match=r"different jobs.*batch_size=8"):
        require_comparable(result(), replace(result(), overrides=("trainer.batch_size=32",)))
    with pytest.raises(ConfigError, match=r"different jobs.*--recipe ner"):
        require_comparable(result(), replace(result(), recipes=("ner",)))
    assert all("--anyway" in problem.fix for problem in caught.value.problems)


def test_figures_that_disappeared_are_named() -> None:
    fewer = replace(result(), steps=())
    assert "sentiment bf16 eager time" in missing_figures(result(), fewer)
    assert missing_figures(fewer, result()) == []


def test_the_table_marks_figures_that_are_worse() -> None:
    lines = comparison_table(compare_figures(result(100.0), result(80.0))).splitlines()
    marked = [line for line in lines if "WORSE" in line]
    assert any(BF16 in line and "-20.0%" in line for line in marked)
    assert all("memory triad" not in line for line in marked)


@pytest.mark.parametrize(("rate", "code"), [(100.0, 0), (110.0, 0), (80.0, 1)])
def test_check_exits_with_1_if_a_figure_is_worse_than_the_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float, code: int
) -> None:
    write(result(100.0), tmp_path / "base.json")
    write(result(rate), tmp_path / "now.json")
    assert bench(["check", str(tmp_path / "base.json"), "--result", str(tmp_path / "now.json")]) == code
    shown = capsys.readouterr().out
    assert "worse than the baseline" in shown and "now: The machine was quiet" in shown


def test_check_exits_with_1_if_a_figure_is_missing_or_if_there_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(result(), tmp_path / "base.json")
    write(replace(result(), steps=result().steps[1:]), tmp_path / "fewer.json")
    assert bench(["check", str(tmp_path / "base.json"), "--result", str(tmp_path / "fewer.json")]) == 1
    shown = capsys.readouterr().out
    assert "missing: sentiment bf16 eager time" in shown and "0 of" in shown and "1 are missing" in shown
    nothing = replace(result(), kernels=(), steps=(), measured_peaks={}, diagnoses=())
    write(nothing, tmp_path / "nothing.json")
    assert bench(["check", str(tmp_path / "nothing.json"), "--result", str(tmp_path / "nothing.json")]) == 1


def test_compare_shows_both_commands_and_the_figures_that_only_one_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(replace(result(), kernels=()), tmp_path / "a.json")
    write(replace(result(), steps=(), overrides=()), tmp_path / "b.json")
    assert bench(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--anyway"]) == 0
    shown = capsys.readouterr().out
    assert "app bench --recipe sentiment trainer.batch_size=8 --budget 60s" in shown
    assert "app bench --recipe sentiment --budget 60s" in shown
    assert "only A has sentiment bf16 eager time" in shown and f"only B has {BF16}" in shown


def test_compare_refuses_different_hardware_without_anyway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(result(), tmp_path / "a.json")
    write(replace(result(), hardware={"device": "Another"}), tmp_path / "b.json")
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    with pytest.raises(ConfigError, match="different hardware"):
        bench(["compare", *files])
    assert bench(["compare", *files, "--anyway"]) == 0
    assert BF16 in capsys.readouterr().out
