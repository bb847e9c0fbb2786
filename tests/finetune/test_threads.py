"""A training leaves the cores to the programs that were there before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from app.config import load
from app.finetune import train
from app.finetune.train import use_free_cores


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_fewer_threads_if_others_are_busy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train, "free_cores", lambda since: 2)
    use_free_cores(load("hello-linear", ["trainer.accelerator=cpu"]), None)
    assert torch.get_num_threads() == 2
    assert "training on 2 instead of 3 threads (OMP_NUM_THREADS sets the number)" in capsys.readouterr().err


def test_the_users_number_is_obeyed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train, "free_cores", lambda since: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    use_free_cores(load("hello-linear", ["trainer.accelerator=cpu"]), None)
    assert torch.get_num_threads() == 3 and not capsys.readouterr().err


def test_never_more_threads_than_torch_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hyper-threads of a core are one thread for torch."""
    monkeypatch.setattr(train, "free_cores", lambda since: 6)
    use_free_cores(load("hello-linear", ["trainer.accelerator=cpu"]), None)
    assert torch.get_num_threads() == 3 and not capsys.readouterr().err
