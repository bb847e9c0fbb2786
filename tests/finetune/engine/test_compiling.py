"""Compiling is asked for by one key, keeps plain names, and gives way with one line where it cannot be."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import pytest
import torch
from torch import nn

from app.compat import compiler_obstacle
from app.config import load
from app.finetune.engine import compiling
from app.finetune.session import prepare

COMPILES = compiler_obstacle() is None and shutil.which("g++")


@pytest.mark.slow
@pytest.mark.skipif(not COMPILES, reason="torch.compile needs a Python that it reads and a C++ compiler")
def test_the_compiled_training_learns_the_same_under_the_same_names() -> None:
    settings = ["trainer.max_epochs=3", "data.examples=64", "trainer.batch_size=64"]
    plain, fast = (prepare(load("hello-linear", [*settings, f"trainer.compile={word}"])) for word in ("false", "true"))
    assert plain.forward is None and fast.forward is not None
    plain.fit()
    fast.fit()
    assert list(plain.model.state_dict()) == list(fast.model.state_dict())
    for ours, theirs in zip(fast.model.parameters(), plain.model.parameters()):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("release", "python", "reads"),
    [
        ("2.0.1+cu118", (3, 10), True),
        ("2.0.1+cu117", (3, 11), False),
        ("2.1.0", (3, 11), True),
        ("2.11.0", (3, 12), True),
    ],
)
def test_which_python_the_compiler_reads(
    release: str, python: tuple[int, int], reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", release)
    monkeypatch.setattr(sys, "version_info", (*python, 0))
    obstacle = compiler_obstacle()
    assert (obstacle is None) == reads
    if obstacle:
        assert obstacle == "torch 2.0 compiles on Python up to 3.10, this is 3.11"


def test_one_line_says_why_it_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "compiler_obstacle", lambda: "this Python is too new")
    assert compiling.compiled(nn.Linear(1, 1)) is None
    assert capsys.readouterr().err == "not compiled: this Python is too new; training continues without\n"
    monkeypatch.setattr(compiling, "compiler_obstacle", lambda: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compiling.compiled(nn.Linear(1, 1)) is None
    assert "no C++ compiler" in capsys.readouterr().err


def test_a_model_that_cannot_be_compiled_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch._dynamo.exc import InternalTorchDynamoError

    def compile_nothing(model: nn.Module) -> Any:
        def fails(**inputs: Any) -> Any:
            raise InternalTorchDynamoError("no lowering for this\nand a long story")

        return fails

    monkeypatch.setattr(torch, "compile", compile_nothing)
    model = nn.Linear(2, 1)
    forward = compiling.CompiledForward(model)
    ones = torch.ones(3, 2)
    for _ in range(2):
        torch.testing.assert_close(forward(input=ones), model(ones))
    assert capsys.readouterr().err == "not compiled: no lowering for this; training continues without\n"
