"""Completion as a shell does it: the script is loaded by a real bash, zsh or fish."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from app import cli
from app.cli import completion
from app.cli.arguments import subverbs
from app.config import shipped_recipes

needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
CALL = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_app app "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a script, two runs, a recipe and another file."""
    for run in ("sentiment/20250101T000000Z-abcdef", "mine/20250102T000000Z-fedcba"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "run.json").write_text("{}")
    (tmp_path / "exports").mkdir()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mine.txt").touch()
    (tmp_path / "app.bash").write_text(completion.bash())
    (tmp_path / "app.fish").write_text(completion.fish())
    return tmp_path


def proposals(folder: Path, *words: str) -> set[str]:
    """What bash proposes for the last of these words."""
    command = ["bash", "--noprofile", "--norc", "-c", CALL, "bash", "app.bash", "app", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert not done.stderr
    return set(filter(None, done.stdout.splitlines()))


@needs_bash
def test_bash_proposes_verbs(folder: Path) -> None:
    assert proposals(folder, "") == {*cli.VERBS, "--help"}
    assert proposals(folder, "re") == {"reproduce", "recipes"}


@needs_bash
@pytest.mark.parametrize("verb", cli.VERBS)
def test_bash_proposes_every_option_and_subverb(verb: str, folder: Path) -> None:
    parser = cli.VERBS[verb].load().parser()
    assert proposals(folder, verb, "") >= {"--help", *subverbs(parser)}
    options = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    assert proposals(folder, verb, "--") >= options


@needs_bash
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "s"], {"sentiment"}),
        (["train", "m"], {"mine.yaml"}),
        (["train", "--dry", "hello-li"], {"hello-linear"}),
        (["train", "--resume", "s"], {"sentiment"}),
        (["train", "--runs", "e"], {"exports"}),
        (["evaluate", "runs/s"], {"runs/sentiment/20250101T000000Z-abcdef"}),
        (["evaluate", "mine", "--split", "t"], {"train", "test"}),
        (["export", "mine", "e"], {"exports"}),
        (["export", "mine", "exports", "--dtype", ""], {"fp32", "bf16", "fp16"}),
        (["generate", "mine", "--prompt", ""], set()),
        (["bench", "--recipe", "n"], {"ner"}),
        (["bench", "c"], {"compare", "check"}),
        (["bench", "check", "mine.t"], {"mine.txt"}),
        (["bench", "compare", "--a"], {"--anyway"}),
        (["doctor", "e"], {"explain"}),
        (["completion", "z"], {"zsh"}),
        (["nonsense", ""], set()),
    ],
)
def test_bash_proposes_values(words: list[str], expected: set[str], folder: Path) -> None:
    assert proposals(folder, *words) == expected


@needs_bash
def test_bash_proposes_recipes_and_runs(folder: Path) -> None:
    assert proposals(folder, "train", "") >= {*shipped_recipes(), "mine.yaml"}
    assert "mine.txt" not in proposals(folder, "train", "")
    runs = {"sentiment", "mine", "runs/sentiment/20250101T000000Z-abcdef", "runs/mine/20250102T000000Z-fedcba"}
    assert proposals(folder, "reproduce", "") == {*runs, "--help", "--runs"}


@needs_bash
def test_bash_answers_within_three_tenths_of_a_second(folder: Path) -> None:
    """Bash starts and reads the script in this time too; at a terminal it has done both before."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        proposals(folder, "train", "s")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3


@needs_bash
def test_bash_completes_the_command_app(folder: Path) -> None:
    command = ["bash", "--noprofile", "--norc", "-c", "source app.bash; complete -p app"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["complete", "-o", "filenames", "-F", "_app", "app"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_loads_the_script(folder: Path) -> None:
    (folder / "app.zsh").write_text(completion.zsh())
    command = ["zsh", "-f", "-c", "autoload -U compinit; compinit -u -D; source app.zsh; print $_comps[app]"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert "_app" in done.stdout


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("app tr", {"train"}),
        ("app train s", {"sentiment"}),
        ("app train --resume s", {"sentiment"}),
        ("app evaluate mine --split t", {"train", "test"}),
        ("app bench c", {"compare", "check"}),
    ],
)
def test_fish_proposes(line: str, expected: set[str], folder: Path) -> None:
    command = ["fish", "--no-config", "-c", f"source app.fish; complete -C '{line}'"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert {row.split("\t")[0] for row in done.stdout.splitlines()} == expected


def test_fish_has_every_option() -> None:
    script = completion.fish()
    for command in completion.commands():
        assert all(f" -l {flag[2:]}" in script for flag in command.flags)


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["completion", "tcsh"])
    assert stopped.value.code == 2
    assert "bash" in capsys.readouterr().err
