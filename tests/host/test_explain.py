"""Errors as users paste them are recognised, and other text is not.

`tests/fixtures/errors/known/<id>.<form>.txt` must be explained by entry `<id>` and nothing else; `unknown/` by nothing.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import HostError, Problem
from app.host.backends.commands import Command
from app.host.backends.runner import Runner
from app.host.explain import (
    KnownError,
    advice,
    answer,
    catalogue,
    explain,
    show,
    squash,
    strip_prefixes,
    text_of,
    workspace_errors,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "errors"
KNOWN = sorted((FIXTURES / "known").glob("*.txt"))
UNKNOWN = sorted((FIXTURES / "unknown").glob("*.txt"))


def ids(text: str) -> list[str]:
    return [known.id for known in explain(text)]


@pytest.mark.parametrize("path", KNOWN, ids=lambda p: p.stem)
def test_pasted_error_is_explained(path: Path) -> None:
    assert ids(path.read_text(encoding="utf-8")) == [path.name.split(".")[0]]


@pytest.mark.parametrize("path", UNKNOWN, ids=lambda p: p.stem)
def test_unrelated_error_is_not_explained(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ids(text) == []
    assert advice(text) is None


def test_twenty_unrelated_errors_at_least() -> None:
    assert len(UNKNOWN) >= 20


def test_every_entry_has_a_pasted_example() -> None:
    assert {p.name.split(".")[0] for p in KNOWN} == {k.id for k in catalogue()}


DISGUISES: dict[str, Callable[[str], str]] = {
    "folded at 60": lambda text: textwrap.fill(text, 60, break_long_words=True),
    "cut inside words at 47": lambda text: "\n".join(text[i : i + 47] for i in range(0, len(text), 47)),
    "compose": lambda text: "\n".join(f"trainer-1  | {line}" for line in textwrap.wrap(text, 80)),
    "journal": lambda text: "\n".join(
        f"Nov 22 03:31:0{i % 10} gpu7 train[{i}]: {x}" for i, x in enumerate(textwrap.wrap(text))
    ),
    "rank and time": lambda text: "\n".join(
        f"[rank{i}]: 2026-11-22 03:31:{i % 60:02}.123 ERROR [main.py:{i}] {x}"
        for i, x in enumerate(textwrap.wrap(text, 90))
    ),
    "coloured": lambda text: "\x1b[31m" + text.replace(" ", " \x1b[0m\x1b[1m") + "\x1b[0m",
    "quoted reply": lambda text: "\n".join(f"> {line}" for line in textwrap.wrap(text, 72)),
    "boxed": lambda text: "\n".join(f"│ {line:<70} │" for line in textwrap.wrap(text, 70)),
    "escaped newlines": lambda text: "\\\\n".join(textwrap.wrap(text)),
    "other numbers and noise around": lambda text: "step 19/400 loss 3.21\n" * 50 + text + "\nexit status 1" * 50,
    "progress bar": lambda text: "".join(f"\r{i}%|##  | {i}/100" for i in range(100)) + "\n" + text,
}


@pytest.mark.parametrize("disguise", DISGUISES, ids=str)
def test_disguised_error_is_still_explained(disguise: str) -> None:
    missed = []
    for path in KNOWN:
        text = " ".join(strip_prefixes(path.read_text(encoding="utf-8")).split())
        if path.name.split(".")[0] not in ids(DISGUISES[disguise](text)):
            missed.append(path.stem)
    assert missed == []


def test_phrases_are_long_enough_to_mean_something() -> None:
    """A pattern of short words alone would match unrelated text after spaces are removed."""
    for known in catalogue():
        for pattern in known.patterns:
            assert max(map(len, pattern)) >= 14, (known.id, pattern)


def test_entries_are_complete_and_unique() -> None:
    names = [k.id for k in catalogue()]
    assert len(names) == len(set(names))
    for known in catalogue():
        assert known.means.endswith(".") and known.why.endswith(".") and known.type and known.source, known.id
        assert known.covers <= set(names)


def test_no_pattern_occurs_twice() -> None:
    patterns = list(itertools.chain.from_iterable(k.patterns for k in catalogue()))
    assert len(patterns) == len(set(patterns))


def test_phrases_far_apart_are_not_one_error() -> None:
    assert ids("NCCL error\n" + "a healthy line of the log\n" * 100 + "unhandled system error") == []


def test_two_errors_in_one_paste_are_both_explained() -> None:
    both = "\n".join(
        (FIXTURES / "known" / name).read_text(encoding="utf-8") for name in ("numpy-2.call.txt", "shm.file.txt")
    )
    assert ids(both) == ["shm", "numpy-2"]


def test_advice_has_commands_and_sources() -> None:
    text = advice("Failed to initialize NVML: Unknown Error")
    assert text is not None
    assert "invoke down && invoke up" in text
    assert "nvidia-docker/issues/1730" in text


def test_the_failure_of_a_command_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """`invoke up` runs its commands this way, for the native environment, the image and the container."""
    script = "echo '  x Hash mismatch for `torch==2.0.1+cu118`' >&2; exit 1"
    with pytest.raises(HostError, match="failed"):
        Runner().must(Command(("sh", "-c", script)), Problem("making .venv failed", "repeat"))
    assert "hash-mismatch: A downloaded wheel is not the one" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["-"]])
def test_text_comes_from_standard_input(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("pasted"))
    assert text_of(words) == "pasted"


def test_text_comes_from_a_file_or_the_words_themselves(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("from the log")
    assert text_of([str(tmp_path / "log")]) == "from the log"
    assert text_of(["CUDA", "error: x"]) == "CUDA error: x"
    assert text_of(["x" * 5000]) == "x" * 5000


def test_answer_to_an_id_an_error_and_a_message_of_our_own() -> None:
    assert str(answer(" nvml-unknown\n")).startswith("nvml-unknown: ")
    assert str(answer("No CUDA GPUs are available")).startswith("no-cuda-device: ")
    assert answer("error: no such recipe\n  fix: app recipes") == (
        "workspace: no such recipe\n  type  app recipes\n  from  app/errors.py"
    )
    assert answer("what is this") is None


def test_own_errors_contain_their_fix() -> None:
    error = HostError(Problem("no recipe named helo-linear", "app recipes", "x.yaml:3"), Problem("no disk", "buy one"))
    found = workspace_errors(f"Traceback or not\n{error}\n")
    assert [(k.means, k.type) for k in found] == [
        ("x.yaml:3: no recipe named helo-linear", ("app recipes",)),
        ("no disk", ("buy one",)),
    ]
    assert advice(str(error)) is None  # it contains its fix


def test_own_warnings_are_explained_too() -> None:
    line = "user 1000 cannot write to /cache; caching in /tmp/cache-1000 for this container only"
    (found,) = workspace_errors(f"dev-1  | warning: {line}\ndev-1  |   fix: mount a volume\n")
    assert (found.means, found.type) == (line, ("mount a volume",))


def test_a_foreign_message_without_a_fix_does_not_take_the_next_one() -> None:
    (found,) = workspace_errors("warning: the cache is cold\nerror: no disk\n  fix: buy one\n")
    assert (found.means, found.type) == ("no disk", ("buy one",))


BUILDS = {
    "plain": """\
#23 [verify 1/1] RUN /build/finish
#23 5.123 error: torch's CUDA is 11.7; variant cu118 promises 11.8
#23 5.124   fix: {fix}
#23 5.124 error: the installed torch is 2.1.0; variant cu118 promises 2.0.1
#23 5.125   fix: {fix}
#23 ERROR: process "/bin/sh -c /build/finish" did not complete successfully: exit code: 1
------
 > [verify 1/1] RUN /build/finish:
5.123 error: torch's CUDA is 11.7; variant cu118 promises 11.8
5.124   fix: {fix}
5.124 error: the installed torch is 2.1.0; variant cu118 promises 2.0.1
5.125   fix: {fix}
------
Dockerfile:99
""",
    "at a terminal": """\
 => ERROR [verify 1/1] RUN /build/finish                                              5.2s
------
 > [verify 1/1] RUN /build/finish:
5.123 error: torch's CUDA is 11.7; variant cu118 promises 11.8
5.124   fix: {fix}
5.124 error: the installed torch is 2.1.0; variant cu118 promises 2.0.1
5.125   fix: {fix}
------
Dockerfile:99
""",
}


@pytest.mark.parametrize("log", BUILDS.values(), ids=BUILDS)
def test_a_build_that_the_images_check_fails_is_explained(log: str) -> None:
    verify = (Path(__file__).parents[2] / "docker" / "build" / "check" / "verify.py").read_text()
    fix = re.search(r'^FIX = "(.+)"$', verify, re.M)
    assert fix is not None and 'f"error: {problem}\\n  fix: {FIX}"' in verify
    assert [(k.means, k.type) for k in workspace_errors(log.format(fix=fix[1]))] == [
        ("torch's CUDA is 11.7; variant cu118 promises 11.8", (fix[1],)),
        ("the installed torch is 2.1.0; variant cu118 promises 2.0.1", (fix[1],)),
    ]


def test_own_errors_are_found_across_line_wraps() -> None:
    lines = ["error: the disk has 3 GB free and the image", "needs 20 GB", "  fix: docker builder", "prune"]
    (found,) = workspace_errors("\n".join(f"dev-1  | {line}" for line in lines))
    assert found.means == "the disk has 3 GB free and the image needs 20 GB"
    assert found.type == ("docker builder prune",)


def test_show_leaves_out_empty_parts() -> None:
    assert show(KnownError("x", (), "Means.", "", ("do",), ())) == "x: Means.\n  type  do"


def test_squash_keeps_letters_and_digits_only() -> None:
    assert squash('cuda >= 11.8,\n "now"\\n') == "cuda118now"


def test_a_huge_log_is_searched_from_its_end_and_fast() -> None:
    assert ids("all is well\n" * 500_000 + "RuntimeError: Numpy is not available") == ["numpy-2"]
