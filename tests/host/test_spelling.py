"""A mistyped line gets the nearest right one."""

from __future__ import annotations

import pytest

from app.host.spelling import correction

TASKS = {
    "up": {"--command": True, "--dry": False},
    "train": {"--recipe": True, "--set": True, "--dry": False},
    "test": {"--fast": False},
    "app": {"--arguments": True, "--dry": False},
    "doctor": {"--json": False},
}
BARE = {"train": ["--recipe"], "app": ["--arguments"]}


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("trian sentiment", "did you mean `train`?"),
        ("xyzzy", "`invoke --list` shows all"),
        ("up --comand true", "did you mean `--command`?"),
        ("train sentiment --fast", "`invoke --help train` shows all"),
        ("train --drry sentiment", "did you mean `--dry`?"),
        ("app doctor doctor --dry", "`invoke --help doctor` shows all"),
        ("app --arguments doctor doctor --dry", "`invoke --help doctor` shows all"),
        ("train sentiment trainer.max_epochs=1", "write `--set trainer.max_epochs=1`"),
    ],
)
def test_what_is_wrong_is_put_right(line: str, fix: str) -> None:
    problem = correction(line.split(), TASKS, BARE)
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
        "app doctor --dry",  # the verb, not the task
        "app --dry doctor --dry",
        "app --help --dry",
        "train doctor --dry",
        "train sentiment --dry",
        "train --recipe test --dry",
    ],
)
def test_what_is_right_is_left_alone(line: str) -> None:
    assert correction(line.split(), TASKS, BARE) is None
