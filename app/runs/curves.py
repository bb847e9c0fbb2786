"""The curves of a run as a picture beside its report."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app import fileio

LOSSES = ("train/loss", "dev/loss")
INCH = 3.2  # height of a panel


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Write an SVG of the losses, the other scores on dev and the learning rate over the steps. The same records give
    the same bytes. False where there is nothing to draw."""
    scores = list(dict.fromkeys(n for r in records for n in r if n.startswith("dev/") and n not in LOSSES))
    panels = [names for names in (list(LOSSES), scores, ["lr"]) if any(series(records, name)[0] for name in names)]
    if not panels:
        return False
    import matplotlib as mpl
    from matplotlib.figure import Figure  # without pyplot: no windows, no state

    with mpl.rc_context({"svg.hashsalt": "curves", "font.size": 9}):
        figure = Figure(figsize=(INCH * 1.4 * len(panels), INCH), layout="constrained")
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
    """Steps and values of what is recorded under a name."""
    found = [(r["step"], r[name]) for r in records if r.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]
