"""What every comparison does with its measurements: figures over rounds, and one JSON file with one Markdown page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from app.benchmark import machine, noise
from app.benchmark.figure import Better, Figure, Limit
from app.benchmark.report.markdown import noise_sentence, number
from app.benchmark.results import BENCHMARK_VERSION
from app.benchmark.timer import summarize
from app.fileio import write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DATA = ROOT.parent / "shared" / "data"


def figure(values: Sequence[float], unit: str, limit: Limit, better: Better = "higher") -> Figure:
    """Return median, 10th and 90th percentile and count of measured values."""
    timing = summarize(values)
    return Figure(timing.median, unit, timing.p10, timing.p90, timing.n, limit, better)


def ratio(ours: Sequence[float], theirs: Sequence[float], better: Better = "higher") -> Figure:
    """Return one side over the other, round by round."""
    limit = Limit(None, "a ratio has none: 1 is as much as the other side")
    return figure([a / b for a, b in zip(ours, theirs)], "times", limit, better)


def shown(figure: Figure) -> str:
    """Return a median with its spread and count."""
    return f"{number(figure.value)} ({number(figure.low)} to {number(figure.high)}, n {figure.n})"


def conditions(command: str, device: torch.device) -> dict[str, Any]:
    """Return when, by which command and on which machine a comparison was made."""
    return {
        "benchmark_version": BENCHMARK_VERSION,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "machine": {**machine.hardware(device), **machine.software(device)},
    }


def file_stem(folder: Path, made: str, name: str) -> Path:
    """Return the path of a result without its suffix, such as `2026-11-22-0835-peers`; `made` is in ISO 8601."""
    return folder / f"{datetime.fromisoformat(made):%Y-%m-%d-%H%M}-{name}"


def measure_each(
    name: str,
    title: str,
    items: Sequence[str],
    measure: Callable[[str], tuple[dict[str, Any], str]],
    out: Path,
    device: torch.device,
    argv: Sequence[str] | None,
) -> None:
    """Measure every item, with a sample of the machine's noise around each, then print and write the results.

    `measure` returns an item's result and its Markdown section. `name` is the module in benchmarks/, `argv` what
    its `main` was given. The files are written after every item: if the next one fails, the earlier ones are kept.
    """
    command = " ".join([f"python -m benchmarks.{name}", *(sys.argv[1:] if argv is None else argv)])
    about = conditions(command, device)
    stem = file_stem(out, about["made"], name)
    samples = [noise.sample(device, 2.0)]
    results: dict[str, Any] = {}
    sections: list[str] = []
    for item in items:
        results[item], section = measure(item)
        sections.append(section)
        samples.append(noise.sample(device, 2.0))
        write(stem, title, {**about, "noise": noise.assess(samples), **results}, sections)
    print("\n\n".join([noise_sentence(noise.assess(samples)), *sections]))
    print(f"\n{stem}.json, {stem}.md")


def write(stem: Path, title: str, content: dict[str, Any], sections: Sequence[str]) -> None:
    """Write the result so far as `stem`.json and, with the Markdown `sections`, as `stem`.md.

    `content` holds `conditions`, the `noise` and the figures.
    """
    facts = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    top = [f"# {title}", f"{content['made']}, `{content['command']}`", f"{facts}.", noise_sentence(content["noise"])]
    write_json(stem.with_suffix(".json"), to_json(content))
    write_text(stem.with_suffix(".md"), "\n\n".join([*top, *sections]) + "\n")


def to_json(value: Any) -> Any:
    """Return a value with every figure in it, at any depth, as an object of JSON."""
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
