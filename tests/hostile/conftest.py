"""Finished runs that hostile variants are made of, and the one way to run a verb against bad input."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from app import cli
from tests.finetune.small_bert import few_reviews, small_bert

SECONDS = 20  # that an answer may take; what hangs takes for ever


@dataclass(frozen=True)
class Answer:
    """How a verb ended."""

    code: int
    out: str
    err: str

    @property
    def has_fix(self) -> bool:
        """Whether it says what to type: our `fix:`, or argparse's usage."""
        return "fix:" in self.err or "usage: app" in self.err


class HangError(Exception):
    """The verb gave no answer in time."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs with one finished run of hello-linear, sentiment and gpt-char each."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE_CACHE", str(folder / "cache"))
        runs = ["--runs", str(folder / "runs")]
        few = [f"model.name={small_bert(folder / 'bert')}", *few_reviews(folder / "data"), "trainer.max_steps=2"]
        sizes = ["model.layers=1", "model.width=16", "model.heads=2", "model.context=16", "trainer.max_steps=2"]
        assert cli.main(["train", "hello-linear", "trainer.max_epochs=2", *runs]) == 0
        assert cli.main(["train", "sentiment", *few, *runs]) == 0
        assert cli.main(["train", "gpt-char", *sizes, *runs]) == 0
        yield folder / "runs"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Run a verb in this process. It must answer in time, without a traceback, and say what to type."""

    def hang(signum: int, frame: FrameType | None) -> None:
        raise HangError

    def answer(*arguments: str, stdin: str = "", refused: bool = True) -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode("utf-8", "surrogateescape"))))
        capsys.readouterr()
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # as Python's own stderr
        before = signal.signal(signal.SIGALRM, hang)
        signal.alarm(SECONDS)
        try:
            code = cli.main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        printed = capsys.readouterr()
        found = Answer(code, printed.out, printed.err)
        assert "Traceback" not in found.err, f"{arguments}: {found.err[-3000:]}"
        if refused:
            assert found.code == 2 and found.has_fix, f"{arguments}: exit code {found.code}: {found.err[-1500:]}"
        return found

    return answer
