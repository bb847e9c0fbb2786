"""Every long verb ends on Ctrl-C with 130 and on SIGTERM with 143, and prints no part of a result."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import cli, fileio
from app.finetune.engine import evaluation
from app.finetune.generation import sampling
from app.signals import STOP
from tests.finetune.small_bert import ROWS, few_reviews, small_bert

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished classifier and a finished language model."""
    folder = tmp_path_factory.mktemp("stopping")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE_CACHE", str(folder / "cache"))
        few = [f"model.name={small_bert(folder / 'bert')}", *few_reviews(folder / "data"), "trainer.max_steps=1"]
        assert cli.main(["train", "sentiment", *few, "--runs", str(folder / "runs")]) == 0
        sizes = ["model.layers=1", "model.width=16", "model.heads=2", "model.context=16", "trainer.max_steps=1"]
        assert cli.main(["train", "gpt-char", *sizes, "--runs", str(folder / "runs")]) == 0
        yield folder / "runs"


def raising(function: Any, signum: int, at_call: int = 1) -> Any:
    """`function`, which a signal reaches in its n-th call."""
    seen = [0]

    def signalled(*arguments: Any, **options: Any) -> Any:
        seen[0] += 1
        if seen[0] == at_call:
            signal.raise_signal(signum)
        return function(*arguments, **options)

    return signalled


def stopped(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a verb that a signal ends."""
    handlers = [signal.getsignal(each) for each, _ in SIGNALS]
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    assert [signal.getsignal(each) for each, _ in SIGNALS] == handlers and STOP.signum == 0
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err and "stopped by SIG" in printed.err
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_signal_between_batches(
    verb: str, signum: int, code: int, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """The second of several batches: a part of the answers is known, and none is printed."""
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text, _ in ROWS * 20))
    arguments = {"evaluate": ["evaluate", "sentiment", "--split", "train"], "predict": ["predict", "sentiment"]}[verb]
    if verb == "predict":
        arguments.append(str(tmp_path / "texts.txt"))
    at = 2 if verb == "predict" else 1
    monkeypatch.setattr(evaluation, "_predictions", raising(evaluation._predictions, signum, at))
    assert stopped(capsys, *arguments, "--runs", str(runs)) == (code, "")


def test_a_signal_while_the_answers_are_printed_waits_for_the_last(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.cli.predict as verb

    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text, _ in ROWS))

    def noisy(*texts: str, **options: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        print(*texts, **options)

    monkeypatch.setattr(verb, "print", noisy, raising=False)
    code, out = stopped(capsys, "predict", "sentiment", str(tmp_path / "texts.txt"), "--runs", str(runs))
    assert code == 143 and len(out.splitlines()) == len(ROWS)


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_while_generating(
    signum: int, code: int, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "probabilities", raising(sampling.probabilities, signum, 3))
    assert stopped(capsys, "generate", "gpt-char", "--json", "--runs", str(runs)) == (code, "")


@pytest.mark.parametrize(("signum", "code"), SIGNALS)
def test_a_signal_while_exporting_leaves_no_folder(
    signum: int, code: int, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(fileio, "to_disk", raising(fileio.to_disk, signum))
    target = tmp_path / "out" / "model"
    assert stopped(capsys, "export", "sentiment", str(target), "--runs", str(runs)) == (code, "")
    assert list(target.parent.iterdir()) == [], "neither the folder nor what was to become it"


def test_a_pipe_is_read_as_stdin_is(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`app predict RUN <(command)`, as bash passes it."""
    reader, writer = os.pipe()
    os.write(writer, b"a good film\n\na bad film\n")
    os.close(writer)
    capsys.readouterr()
    assert cli.main(["predict", "sentiment", f"/dev/fd/{reader}", "--runs", str(runs)]) == 0
    os.close(reader)
    assert [json.loads(line)["line"] for line in capsys.readouterr().out.splitlines()] == [1, 2, 3]
