"""The design's map, held: imports point one way, and modules stay small."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "app").rglob("*.py"))

# What each part of the package may import from the package. `cli -> verbs -> {models, data} -> {config, errors}`.
BASE = {"cgroups", "errors", "fileio", "schema", "config", "compat", "paths", "signals"}
ALLOWED: dict[str, set[str]] = {
    "cgroups": set(),
    "errors": set(),
    "fileio": {"errors"},
    "schema": {"errors"},
    "config": {"errors", "paths", "schema"},
    "compat": set(),
    "paths": {"errors"},
    "signals": set(),
    "host": {"cgroups", "errors"},
    "recipes": set(),
    "hardware": BASE,
    "models": BASE | {"hardware"},
    "data": BASE | {"hardware"},
    "runs": BASE | {"hardware", "models", "data", "host"},
    "finetune": BASE | {"hardware", "models", "data", "runs", "host"},
    "benchmark": BASE | {"hardware", "models", "data", "runs", "finetune", "host"},
    "doctor": BASE | {"host", "hardware"},
    "cli": BASE | {"hardware", "models", "data", "runs", "finetune", "benchmark", "doctor", "host"},
}


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    inner = path.relative_to(ROOT / "app")
    return inner.parts[0] if len(inner.parts) > 1 else inner.stem


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    if path == ROOT / "app" / "__init__.py":
        assert not path.read_text().strip(), "app/__init__.py is empty of work"
        return
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("app.")}
    assert parts - {part} <= ALLOWED[part], f"app.{part} may not import {sorted(parts - {part} - ALLOWED[part])}"


@pytest.mark.parametrize("path", sorted((ROOT / "app" / "host").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_host_needs_only_the_standard_library(path: Path) -> None:
    outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"app"}
    assert not outside


def test_tasks_need_only_invoke_and_host() -> None:
    names = set(imports(ROOT / "tasks.py"))
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) <= {"invoke", "app"}
    assert all(name.startswith(("app.host", "app.errors")) for name in names if name.startswith("app"))


@pytest.mark.parametrize("path", [*MODULES, ROOT / "tasks.py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350


RECORDERS = {"hardware", "benchmark"}  # they write down which version they found


def test_versions_are_told_apart_in_one_place() -> None:
    """Differences between torch releases live in app/compat.py, under 80 lines."""
    asking = [str(p) for p in MODULES if asks_for_version(p) and part_of(p) not in RECORDERS | {"compat"}]
    assert not asking
    assert len((ROOT / "app" / "compat.py").read_text().splitlines()) < 80


def asks_for_version(path: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "__version__" and ast.unparse(node.value) == "torch"
        for node in ast.walk(ast.parse(path.read_text()))
    )
