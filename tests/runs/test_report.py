"""The picture of a run's curves."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from app.runs.report import draw_curves


def some_records() -> list[dict[str, float | None]]:
    training: list[dict[str, float | None]] = [{"step": s, "train/loss": 1 / s, "lr": 0.1} for s in range(1, 50)]
    return [
        *training,
        {"step": 25, "dev/loss": 0.2, "dev/accuracy": 0.8},
        {"step": 49, "dev/loss": None, "dev/accuracy": 0.9},
    ]


def test_curves_are_a_picture_and_the_same_for_the_same_records(tmp_path: Path) -> None:
    assert draw_curves(some_records(), tmp_path / "a.svg") and draw_curves(some_records(), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    picture = ElementTree.parse(tmp_path / "a.svg")
    axes = [e for e in picture.iter() if e.get("id", "").startswith("axes_")]
    assert len(axes) == 3, "losses, scores, learning rate"


def test_nothing_to_draw_is_no_picture(tmp_path: Path) -> None:
    assert not draw_curves([{"step": 1, "tokens/s": 3.0}], tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())
