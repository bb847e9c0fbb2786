"""The check runner and its two outputs."""

from __future__ import annotations

import io
import json
import time

import pytest

from app.host.checks.check import (
    Answer,
    Check,
    Result,
    Table,
    check,
    exit_code,
    failed,
    passed,
    report,
    run,
    skipped,
    verdict,
    warned,
)


@check("good", source="here")
def good(context: str) -> Answer:
    """Whether it
    is good."""
    return passed(f"{context} is good")


@check("bad", source="there", step=3)
def bad(context: str) -> Answer:
    """Whether it is bad."""
    return failed(f"{context} is bad", "make it good")


@check("broken")
def broken(context: str) -> Answer:
    """A check with a bug."""
    raise KeyError(context)


@check("stuck", limit=0.1)
def stuck(context: str) -> Answer:
    """A check that never returns."""
    time.sleep(60)
    return passed(context)


def test_results_have_name_and_step_and_a_source_only_for_warnings_and_failures() -> None:
    first, second = run([good, bad], "it")
    assert (first.name, first.status, first.detail, first.source, first.step) == ("good", "pass", "it is good", "", 0)
    assert (second.status, second.fix, second.source, second.step) == ("fail", "make it good", "there", 3)


def test_an_exception_in_a_check_is_its_failure_and_the_rest_runs() -> None:
    first, second = run([broken, good], "it")
    assert first.status == "fail"
    assert "KeyError: 'it'" in first.detail
    assert "bug" in first.fix
    assert second.status == "pass"


def test_a_check_that_hangs_is_abandoned() -> None:
    begin = time.perf_counter()
    first, second = run([stuck, good], "it")
    assert time.perf_counter() - begin < 5
    assert first.status == "fail"
    assert "no answer within 0.1 s" in first.detail
    assert second.status == "pass"


def test_a_result_comes_before_the_next_check_begins() -> None:
    context: list[str] = []

    def note(name: str) -> Check[list[str]]:
        return Check(name, lambda s: (s.append(name), passed(name))[1])

    results = run([note("a"), note("b")], context)
    next(results)
    assert context == ["a"]


def results(*statuses: str) -> list[Result]:
    return [Result(f"check {i}", status, "detail", "fix") for i, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "worst", "code", "strict_code"),
    [
        ((), "pass", 0, 0),
        (("pass", "skip"), "pass", 0, 0),
        (("pass", "warn"), "warn", 0, 1),
        (("warn", "fail", "pass"), "fail", 2, 2),
    ],
)
def test_verdict_and_exit_code(statuses: tuple[str, ...], worst: str, code: int, strict_code: int) -> None:
    listed = results(*statuses)
    assert verdict(listed) == worst
    assert exit_code(listed, strict=False) == code
    assert exit_code(listed, strict=True) == strict_code


def test_json_report_keeps_its_schema() -> None:
    document = json.loads(report("host", list(run([good, bad], "it")), "use it"))
    assert list(document) == ["schema", "kind", "verdict", "conclusion", "counts", "results"]
    assert document["schema"] == 1
    assert document["counts"] == {"pass": 1, "warn": 0, "fail": 1, "skip": 0}
    assert list(document["results"][0]) == ["name", "status", "detail", "fix", "source", "step", "seconds"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, *shown: Result) -> str:
    table = Table(stream, shown)
    for each in shown:
        table.show(each)
    return stream.getvalue()


def test_table_is_plain_in_a_file() -> None:
    text = printed(io.StringIO(), *run([good, bad], "it"))
    assert text.splitlines() == [
        "  pass     good  it is good",
        "  fail   3 bad   it is bad",
        "                 fix: make it good",
        "                 see: there",
    ]


def test_table_is_coloured_and_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = printed(Terminal(), Result("long", "warn", "word " * 30, "fix"))
    assert "\033[33mwarn\033[0m" in text
    assert max(len(line) for line in text.splitlines()) < 60 + len("\033[33m\033[0m")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_if_the_environment_forbids_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert "\033" not in printed(Terminal(), Result("x", "pass", "y"))


def test_about_is_the_docstring_on_one_line() -> None:
    assert good.about == "Whether it is good."
    assert (warned("a", "b").status, skipped("a").status) == ("warn", "skip")
