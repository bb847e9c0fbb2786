"""docs/architecture.md names the files from the command line to the optimizer, and the list is true."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from app import cli
from tests.conftest import ROOT
from tests.finetune.small_bert import few_reviews, small_bert

PAGE = ROOT / "docs" / "architecture.md"
MOST = 8  # files that a reader passes


def listed() -> list[str]:
    """The files of the page's list, in its order."""
    text = PAGE.read_text(encoding="utf-8")
    part = text.partition("<!-- path to optimizer.step -->")[2].partition("<!-- end -->")[0]
    return re.findall(r"^\d+\. `(app/[\w/]+\.py)`", part, re.MULTILINE)


class UpToTheStep:
    """Notes the package's files in the order in which they are first entered, until the optimizer's first step."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.stack: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # and not a module or a class that is imported
        if event != "call" or self.stack or not is_function:
            return
        path = Path(frame.f_code.co_filename)
        if frame.f_code.co_name == "step" and path.parts[-3:] == ("torch", "optim", "adamw.py"):
            self.stack = list(dict.fromkeys(reversed(list(files_of(frame)))))
        if not path.is_relative_to(ROOT / "app"):
            return
        name = str(path.relative_to(ROOT))
        if name not in self.entered:
            self.entered.append(name)


def files_of(frame: FrameType | None) -> Any:
    """The package's files on the call stack, from the innermost."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT / "app"):
            yield str(path.relative_to(ROOT))
        frame = frame.f_back


def test_the_path_to_the_optimizer_is_the_one_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    settings = [f"model.name={small_bert(tmp_path / 'bert')}", *few_reviews(tmp_path / "data"), "trainer.max_steps=1"]
    seen = UpToTheStep()
    sys.setprofile(seen)
    try:
        code = cli.main(["train", "sentiment", *settings, "trainer.precision=fp32", "--runs", str(tmp_path / "runs")])
    finally:
        sys.setprofile(None)
    assert code == 0 and seen.stack, "the optimizer was reached"
    path = listed()
    assert 0 < len(path) <= MOST
    assert [name for name in seen.entered if name in path] == path, "in the order in which they are entered"
    on_stack = [name for name in seen.stack if name != "app/cli/__init__.py"]  # the table of verbs
    assert set(on_stack) <= set(path) and on_stack[0] == "app/cli/train.py"


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:app|docker|tests)/[\w./]+)`", PAGE.read_text()))))
def test_every_path_on_the_page_exists(name: str) -> None:
    assert (ROOT / name).exists()
