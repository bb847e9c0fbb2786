"""The catalogue as a whole: its size, its sources, what it leaves alone, and how fast it answers on hostile text."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.host.explain import CATALOGUE, LONGEST, advice, answer, catalogue, explain, squash, strip_prefixes
from app.host.probe.machine import ROOT

FIXTURES = Path(__file__).parents[1] / "fixtures" / "errors"
GROUPS = sorted(CATALOGUE.glob("*.json"))
MEGABYTE = 1_000_000


def test_the_catalogue_knows_a_hundred_errors_at_least() -> None:
    assert len(catalogue()) >= 150


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: path.stem)
def test_a_group_has_nothing_but_entries(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document.keys() == {"schema", "errors"} and document["schema"] == 1
    for entry in document["errors"]:
        assert list(entry) == [k for k in ("id", "match", "means", "why", "type", "source", "covers") if k in entry]


SOURCE = re.compile(r"https://\S+|message of [\w./-]+( [\w.]+)?( and [\w.]+ [\w.]+)?: \S+|\S+ of this project")


def test_every_error_says_where_its_message_comes_from() -> None:
    for known in catalogue():
        for source in known.source:
            assert SOURCE.fullmatch(source) or source.startswith("transformers: "), (known.id, source)
            if source.endswith(" of this project"):
                assert (ROOT / source.split()[0]).is_file(), source


def test_no_two_entries_give_the_same_explanation() -> None:
    assert len({known.means for known in catalogue()}) == len(catalogue())


def test_forty_unrelated_texts_at_least() -> None:
    """test_explain.py shows that each of them stays unexplained."""
    assert len(list((FIXTURES / "unknown").glob("*.txt"))) >= 40


def test_unrelated_texts_stay_unexplained_together() -> None:
    """Between two phrases of a pattern there may be other text, so what precedes and follows counts too."""
    texts = [path.read_text(encoding="utf-8") for path in sorted((FIXTURES / "unknown").glob("*.txt"))]
    assert [known.id for known in explain("\n".join(texts))] == []
    assert [known.id for known in explain("\n".join(reversed(texts)))] == []


def test_the_project_s_own_code_is_not_an_error() -> None:
    for path in [*(ROOT / "app" / "finetune").rglob("*.py"), *(ROOT / "app" / "data").rglob("*.py")]:
        assert [known.id for known in explain(path.read_text(encoding="utf-8"))] == [], path


@pytest.mark.parametrize(
    ("types", "known"),
    [
        ("(torch.FloatTensor) and weight type (torch.cuda.FloatTensor)", "mixed-devices"),
        ("(torch.cuda.FloatTensor) and weight type (torch.FloatTensor)", "mixed-devices"),
        ("(torch.cuda.FloatTensor) and weight type (torch.cuda.HalfTensor)", "mixed-dtypes"),
        ("(torch.cuda.HalfTensor) and weight type (torch.cuda.FloatTensor)", "mixed-dtypes"),
    ],
)
def test_a_convolution_that_fails_means_devices_or_types(types: str, known: str) -> None:
    assert [k.id for k in explain(f"RuntimeError: Input type {types} should be the same")] == [known]


def repeated(text: str) -> str:
    return text * (MEGABYTE // len(text))


PAIRED = {pattern[0] for known in catalogue() for pattern in known.patterns if len(pattern) > 1}
FIRST_PHRASES = sorted(PAIRED, key=lambda phrase: (len(phrase), phrase))[:4]  # the shortest occur most often
HOSTILE: dict[str, Callable[[], str]] = {
    "one line of letters": lambda: "a" * MEGABYTE,
    "one line of spaces": lambda: " " * MEGABYTE,
    "spaces, then a letter": lambda: " " * MEGABYTE + "x",
    "empty lines": lambda: "\n" * MEGABYTE,
    "lines of spaces": lambda: repeated("   \n"),
    "backslashes": lambda: "\\" * MEGABYTE,
    "quoting": lambda: repeated("> "),
    "brackets": lambda: repeated("[a] "),
    "open brackets": lambda: repeated("[(<"),
    "times": lambda: repeated("12:34:56 "),
    "services": lambda: repeated("dev-1 | "),
    "words that precede a bar": lambda: repeated("word.word-") + " ",
    "escape codes": lambda: repeated("\x1b[31"),
    "titles that never end": lambda: repeated("\x1b]0;"),
    "digits": lambda: "1." + "1" * MEGABYTE,
    "errors without a fix": lambda: repeated("error: it failed\n"),
    "one error and no end": lambda: "error: " + repeated("and so on\n"),
    "fixes without an error": lambda: repeated("  fix: do it\n"),
    "carriage returns": lambda: repeated("50%|#  | 1/2\r"),
    **{f"the phrase {phrase}": lambda phrase=phrase: repeated(phrase + " ") for phrase in FIRST_PHRASES},  # type: ignore[misc]
}


@pytest.mark.parametrize("text", HOSTILE, ids=str)
def test_a_hostile_megabyte_is_answered_within_a_second(text: str) -> None:
    hostile = HOSTILE[text]()
    start = time.process_time()
    answer(hostile)
    assert time.process_time() - start < 1.0


def test_phrases_in_order_are_found_after_a_thousand_false_starts() -> None:
    text = "bind " * 1000 + "x" * 500 + " bind: address already in use"
    assert [known.id for known in explain(text)] == ["port-taken"]


def test_the_longest_log_is_answered_in_seconds() -> None:
    line = "2026-11-22 03:31:07,120 INFO [train.py:41] step 19/400 loss 3.21 and nothing to see in {}\n"
    text = "".join(line.format(i) for i in range(LONGEST // len(line)))
    start = time.process_time()
    assert advice(text) is None
    assert time.process_time() - start < 5.0


def test_prefixes_are_removed_and_the_rest_of_a_line_stays() -> None:
    assert strip_prefixes("dev-1  | > [rank0]: 12:34:56 ERROR it  failed") == " it  failed"
    assert strip_prefixes("   indented") == "   indented"
    assert squash("\\\\n a\\nb \\ c") == "abc"
