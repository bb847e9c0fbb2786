"""Entity and token reports, compared with counts made from the definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.finetune.metrics.entities import report_of

TRUTH = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "B-PER"]]


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """(first, last, type) of each entity of a sentence: a B with all the I of its type that follow."""
    found = set()
    for start, tag in enumerate(tags):
        if tag.startswith("B-"):
            stop = start + 1
            while stop < len(tags) and tags[stop] == f"I-{tag[2:]}":
                stop += 1
            found.add((start, stop, tag[2:]))
    return found


def counted(truth: list[list[str]], answers: list[list[str]], kind: str = "") -> tuple[float, float, float, int]:
    """Precision, recall, F1 and support of one type, or of all for the empty one, by counting."""
    true = {(i, *span) for i, tags in enumerate(truth) for span in spans(tags) if kind in ("", span[2])}
    answered = {(i, *span) for i, tags in enumerate(answers) for span in spans(tags) if kind in ("", span[2])}
    precision = len(true & answered) / len(answered) if answered else 0.0
    recall = len(true & answered) / len(true) if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return precision, recall, f1, len(true)


def test_all_right_is_one_everywhere() -> None:
    report = report_of(TRUTH, TRUTH)
    assert set(report.values().values()) == {1.0}
    assert [row.name for row in report.entities] == ["LOC", "ORG", "PER", "micro", "macro", "weighted"]
    assert [row.name for row in report.tokens[:4]] == ["O", "B-LOC", "B-ORG", "B-PER"]


def test_half_an_entity_is_no_entity_but_half_its_tokens() -> None:
    report = report_of([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]])
    assert report.values()["entity_f1"] == 0.0
    assert report.values()["token_accuracy"] == pytest.approx(2 / 3)


def test_an_entity_that_opens_with_i_does_not_count() -> None:
    assert report_of([["B-PER", "I-PER"]], [["I-PER", "I-PER"]]).values()["entity_f1"] == 0.0


def test_a_tagger_that_finds_nothing_has_a_high_accuracy_and_no_entity() -> None:
    values = report_of([["O"] * 19 + ["B-PER"]], [["O"] * 20]).values()
    assert values["token_accuracy"] == pytest.approx(0.95)
    assert values["entity_f1"] == values["entity_precision"] == values["entity_recall"] == 0.0


def test_sentences_without_any_entity_can_be_scored() -> None:
    assert report_of([["O", "O"]], [["O", "O"]]).values()["entity_f1"] == 0.0
    assert report_of([["O", "O"]], [["I-PER", "O"]]).values()["token_accuracy"] == 0.5


def test_averages_are_those_of_their_names() -> None:
    truth = [["B-PER", "B-PER", "B-PER", "B-LOC", "O"]]
    answers = [["B-PER", "B-PER", "O", "B-PER", "O"]]
    rows = {row.name: row for row in report_of(truth, answers).entities}
    assert rows["PER"].precision == rows["PER"].recall == pytest.approx(2 / 3)
    assert rows["LOC"].f1 == 0.0
    assert rows["micro"].recall == pytest.approx(2 / 4)
    assert rows["macro"].recall == pytest.approx((2 / 3 + 0) / 2)
    assert rows["weighted"].recall == pytest.approx((3 * 2 / 3 + 1 * 0) / 4)
    tokens = {row.name: row for row in report_of(truth, answers).tokens}
    assert tokens["micro"].precision == tokens["micro"].recall == tokens["micro"].f1 == pytest.approx(3 / 5)
    assert tokens["O"].precision == pytest.approx(1 / 2)
    assert [tokens[name].support for name in ("O", "B-PER", "B-LOC", "micro")] == [1, 3, 1, 5]


TAGS = st.sampled_from(["O", "O", "B-X", "I-X", "B-Y", "I-Y"])
PAIRS = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=6), min_size=1, max_size=5)


@given(PAIRS)
def test_any_tags_score_as_counting_says(pairs: list[list[tuple[str, str]]]) -> None:
    truth, answers = ([[pair[side] for pair in sentence] for sentence in pairs] for side in (0, 1))
    report = report_of(truth, answers)
    rows = {row.name: (row.precision, row.recall, row.f1, row.support) for row in report.entities}
    assert rows["micro"] == pytest.approx(counted(truth, answers))
    for kind in ("X", "Y"):
        assert rows.get(kind, (0.0, 0.0, 0.0, 0)) == pytest.approx(counted(truth, answers, kind))


def test_a_sentence_of_another_length_is_a_bug() -> None:
    with pytest.raises(ValueError, match="one answer"):
        report_of([["O", "O"]], [["O"]])


def test_both_tables_say_what_they_are() -> None:
    text = report_of(TRUTH, TRUTH).markdown()
    assert "**Entities**, strict" in text
    assert "**Tokens**, each tag separately" in text
    assert "| PER | 1.000 | 1.000 | 1.000 | 2 |" in text
    assert "| I-PER | 1.000 | 1.000 | 1.000 | 1 |" in text
