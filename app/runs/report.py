"""report.md and its picture: what a run reached, for people."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app import fileio
from app.schema import Recipe

LOSSES = ("train/loss", "dev/loss")
PANEL = 3.2  # inches, the height of a panel


def report_markdown(
    recipe: Recipe,
    manifest: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, float]],
    tables: Mapping[str, str],
    curves: str | None,
    dev_scored: tuple[int, int],
    kept: tuple[int, int],
) -> str:
    """Return the Markdown of a finished run.

    `scores`: split to name to number. `tables`: heading to Markdown. `curves`: the name of a picture next to the
    report. `dev_scored`: examples of dev that were scored, and all of them. `kept`: the
    optimizer step whose weights were kept, and the steps that were done.
    """
    scored, of = dev_scored
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    header = [f"| split | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    rows = [
        f"| {split} | {' | '.join(f'{v[n]:.4f}' if n in v else '' for n in names)} |" for split, v in scores.items()
    ]
    sections = [text for heading, table in tables.items() if table for text in (f"## {heading}", table)]
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    hardware = manifest["hardware"]
    devices = ", ".join(gpu["name"] for gpu in hardware["gpus"]) or f"{hardware['cpu']}, {hardware['threads']} threads"
    return (
        "\n\n".join(
            [
                f"# {recipe.name}",
                f"{recipe.task}, started {manifest['started']}, on {devices}.",
                "\n".join(header + rows),
                f"The weights are those of step {kept[0]:,} of {kept[1]:,}, the best on dev.",
                *([f"Dev: {scored:,} of {of:,} examples were scored."] if scored < of else []),
                *([f"![loss, scores and learning rate over the steps]({curves})"] if curves else []),
                *sections,
                "## Made with",
                f"{versions}; code {manifest['code'].get('revision') or 'unknown'}; "
                f"recipe sha256 `{manifest['recipe_sha256']}`.",
            ]
        )
        + "\n"
    )


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Write an SVG of the losses, the other scores on dev and the learning rate over the steps.

    Returns False, and writes nothing, if the records have none of them. The same records give the same bytes.
    """
    scores = list(dict.fromkeys(n for r in records for n in r if n.startswith("dev/") and n not in LOSSES))
    panels = [names for names in (list(LOSSES), scores, ["lr"]) if any(series(records, name)[0] for name in names)]
    if not panels:
        return False
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot: no windows, no state

    with mpl.rc_context({"svg.hashsalt": "curves", "font.size": 9}):
        figure = Figure(figsize=(PANEL * 1.4 * len(panels), PANEL), layout="constrained")
        for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
            for name in names:
                steps, values = series(records, name)
                axes.plot(steps, values, label=name, marker="." if len(steps) < 40 else "", linewidth=1.2)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    fileio.write_bytes(path, buffer.getvalue())
    return True


def series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Return the steps at which `name` was recorded, and its values there."""
    found = [(r["step"], r[name]) for r in records if r.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]
