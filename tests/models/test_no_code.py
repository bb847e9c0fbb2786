"""Nothing that loads a model or a tokenizer may run the code that comes with it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADERS = ("from_pretrained", "from_config")


def calls(path: Path) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS
    ]


LOADING = [path for path in sorted((ROOT / "app").rglob("*.py")) if calls(path)]


def test_there_are_such_calls() -> None:
    assert LOADING


@pytest.mark.parametrize("path", LOADING, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_call_refuses_code(path: Path) -> None:
    for call in calls(path):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        trust = given.get("trust_remote_code")
        assert isinstance(trust, ast.Constant) and trust.value is False, f"line {call.lineno}"
