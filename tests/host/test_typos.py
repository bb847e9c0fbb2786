"""A mistyped line gets the nearest right one."""

from __future__ import annotations

import pytest

from app.host.typos import correction

TASKS = {
    "up": {"--command": True, "--dry": False},
    "train": {"--recipe": True, "--set": True, "--dry": False},
    "test": {"--fast": False},
}


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("trian sentiment", "did you mean `train`?"),
        ("xyzzy", "`invoke --list` shows all"),
        ("up --comand true", "did you mean `--command`?"),
        ("train sentiment --fast", "`invoke --help train` shows all"),
        ("train sentiment trainer.max_epochs=1", "write `--set trainer.max_epochs=1`"),
    ],
)
def test_what_is_wrong_is_put_right(line: str, fix: str) -> None:
    problem = correction(line.split(), TASKS)
    assert problem is not None
    assert fix in problem.fix


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--list",
        "--help up",
        "up --command --weird --dry",
        "up --command=--weird",
        "test --fast train x --set a=b",
        "up --help",
    ],
)
def test_what_is_right_is_left_alone(line: str) -> None:
    assert correction(line.split(), TASKS) is None
