"""What all verbs have in common: quick help, exit codes, errors without tracebacks."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from app import cli
from app.cli.arguments import parse_subverb, subverbs
from app.errors import Problem, RunError


@pytest.mark.parametrize("argv", [["--help"], [], ["help"]])
def test_help_lists_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb} " in shown for verb in cli.VERBS)


def test_help_answers_within_four_tenths_of_a_second() -> None:
    best = min(_seconds("--help") for _ in range(3))  # the best of three, because other work only ever adds
    assert best < 0.4


@pytest.mark.parametrize("argv", [["--help"], *([verb, "--help"] for verb in cli.VERBS), ["completion", "bash"]])
def test_help_and_completion_import_no_torch(argv: list[str]) -> None:
    code = f"""
import sys
from app.cli import main
try:
    main({argv})
except SystemExit:
    pass
print([name for name in ("torch", "numpy", "pydantic", "yaml") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def _seconds(*argv: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "app.cli", *argv], check=True, capture_output=True)
    return time.perf_counter() - started


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_verb_is_the_module_of_its_name(verb: str) -> None:
    assert getattr(cli.VERBS[verb].load(), "__name__", "") == f"app.cli.{verb}"
    assert cli.VERBS[verb].load().parser().prog == f"app {verb}"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"app {verb}" in capsys.readouterr().out


def examples() -> Iterator[str]:
    """Yield the command lines in the docstrings of the verbs and in `app --help`."""
    for verb in cli.VERBS.values():
        doc = inspect.getdoc(verb.load()) or ""
        yield from (line.partition(" > ")[0] for line in doc.splitlines() if re.match(r"app [a-z]+( |$)", line))
        yield from re.findall(r": (app .*)$", verb.about)


@pytest.mark.parametrize("line", dict.fromkeys(examples()))
def test_an_example_is_a_command_line_that_its_verb_takes(line: str) -> None:
    command = shlex.split(line.partition(" | ")[0], comments=True)
    parser = cli.VERBS[command[1]].load().parser()
    if names := list(subverbs(parser)):
        parse_subverb(parser, command[2:], default=names[0])
    else:
        parser.parse_intermixed_args(command[2:])


def test_every_verb_has_an_example() -> None:
    assert {line.split()[1] for line in examples()} == set(cli.VERBS)


def test_a_misspelt_verb_gets_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "did you mean `app train`?" in capsys.readouterr().err


class Failing:
    """A verb whose `main` raises `error`."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def parser(self) -> argparse.ArgumentParser:
        return argparse.ArgumentParser()

    def main(self, argv: Sequence[str]) -> int:
        raise self.error


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def code_of(error: BaseException) -> int:
        monkeypatch.setitem(cli.VERBS, "train", cli.Verb("fails", lambda: Failing(error)))
        return cli.main(["train"])

    assert code_of(RunError(Problem("it broke", "mend it", "here:1"))) == 2
    assert capsys.readouterr().err == "error: here:1: it broke\n  fix: mend it\n"
    assert code_of(KeyboardInterrupt()) == 130
    assert code_of(ZeroDivisionError("a bug")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_schema_is_json_with_the_docs_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes", "--schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$defs"]["Trainer"]["properties"]["clip"]["description"] == "Largest norm of the gradient."


def test_a_bad_setting_stops_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "sentiment", "data.tran=x", "seed=-1", "--runs", str(tmp_path / "runs")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("error:") == 2 and shown.count("fix:") == 2
    assert not (tmp_path / "runs").exists()
