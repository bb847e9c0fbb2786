"""What the catalogue and the checks tell people to type exists: tasks, verbs, overrides and environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tasks
from app.cli import VERBS
from app.config import load
from app.host.explain import catalogue
from app.host.probe.machine import ROOT

ADVICE = sorted({line for known in catalogue() for line in (*known.type, known.why)})
SOURCES = [*(ROOT / "app" / "doctor").rglob("*.py"), *(ROOT / "app" / "host" / "checks").glob("*.py")]


def advice_texts() -> list[str]:
    """Return the lines of the catalogue, and the source of the checks, which has their fixes."""
    return [*ADVICE, *(path.read_text(encoding="utf-8") for path in SOURCES)]


def test_tasks_exist() -> None:
    named = {m for text in advice_texts() for m in re.findall(r"\binvoke ([a-z]+)\b", text)}
    assert named - {"app", "doctor"}, "the pattern finds nothing"
    assert named <= set(tasks.ns.task_names)


def test_verbs_exist() -> None:
    named = {m for text in ADVICE for m in re.findall(r"(?:^|[;&] |`)app ([a-z]+)\b", text)}
    assert named <= set(VERBS)


@pytest.mark.parametrize(
    "override", sorted({o for text in advice_texts() for o in re.findall(r"\btrainer\.\w+=[\w.]+", text)})
)
def test_overrides_are_accepted(override: str) -> None:
    if override.endswith("=..."):
        return
    assert load("hello-linear", [override]).trainer


def test_variables_are_read_somewhere() -> None:
    named = {m for text in advice_texts() for m in re.findall(r"\bWORKSPACE_[A-Z_]+\b", text)}
    readers = [
        *(ROOT / "app").rglob("*.py"),
        ROOT / "compose.yaml",
        ROOT / "docker" / "Dockerfile",
        ROOT / "docker" / "entrypoint.sh",
    ]
    texts = {path: path.read_text(encoding="utf-8") for path in map(Path, readers)}
    for name in named:
        assert any(name in text for path, text in texts.items() if path not in SOURCES), name
