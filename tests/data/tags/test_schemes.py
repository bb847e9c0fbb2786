"""Tag schemes: each is recognised and becomes IOB2; a file that mixes two is refused, with the lines named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data.lines import LineErrors
from app.data.tags.schemes import Sentence, entity_types, label_names, to_iob2
from app.errors import DataError

FILE = Path("tags.conll")


def sentences_of(*texts: str) -> list[Sentence]:
    """Return a sentence for each text of tags; line numbers continue, with one empty line between sentences."""
    found, line = [], 1
    for text in texts:
        tags = text.split()
        found.append(Sentence([f"t{i}" for i in range(len(tags))], tags, list(range(line, line + len(tags)))))
        line += len(tags) + 1
    return found


def iob2(*texts: str) -> list[str]:
    errors = LineErrors(FILE)
    found = to_iob2(sentences_of(*texts), errors)
    errors.raise_if_any()
    return [" ".join(sentence.tags) for sentence in found]


def refusal(*texts: str) -> str:
    with pytest.raises(DataError) as caught:
        iob2(*texts)
    return str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "written"),
    [
        ("IOB1", "O I-PER I-PER B-PER O I-LOC I-PER"),
        ("IOB2", "O B-PER I-PER B-PER O B-LOC B-PER"),
        ("IOBES", "O B-PER E-PER S-PER O S-LOC S-PER"),
        ("BILOU", "O B-PER L-PER U-PER O U-LOC U-PER"),
    ],
)
def test_every_scheme_becomes_iob2(scheme: str, written: str) -> None:
    assert iob2(written) == ["O B-PER I-PER B-PER O B-LOC B-PER"], scheme


def test_a_long_span_in_iobes_keeps_its_inner_tokens() -> None:
    assert iob2("B-PER I-PER I-PER E-PER") == ["B-PER I-PER I-PER I-PER"]


def test_a_span_ends_with_its_sentence() -> None:
    assert iob2("O I-PER", "I-PER O") == ["O B-PER", "B-PER O"]


def test_a_type_may_hold_a_dash() -> None:
    assert iob2("B-creative-work I-creative-work") == ["B-creative-work I-creative-work"]


def test_a_file_without_spans_is_unchanged() -> None:
    assert iob2("O O", "O") == ["O O", "O"]


def test_iob1_and_iob2_in_one_file_are_refused_with_the_lines() -> None:
    text = refusal("B-PER I-PER O B-LOC", "O I-LOC", "B-PER O I-PER")
    assert "tags.conll:7: I-LOC follows O, but line 1 opens a span with B-: IOB1 and IOB2 are mixed" in text
    assert "tags.conll:11: I-PER follows O" in text
    assert "write B-LOC, as IOB2 does" in text
    assert text.count("error:") == 2


def test_the_rarer_scheme_of_the_two_is_reported() -> None:
    text = refusal("I-PER O I-LOC O I-ORG O B-PER")
    assert text.count("error:") == 1
    assert "tags.conll:7: B-PER follows O, but line 1 opens a span with I-" in text


def test_a_span_that_changes_its_type_becomes_two_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert iob2("B-LOC I-PER I-PER O B-ORG") == ["B-LOC B-PER I-PER O B-ORG"]
    assert caplog.messages == ["tags.conll:2: I-PER follows B-LOC: read as B-PER"]


def test_in_iob1_a_span_may_follow_one_of_another_type(caplog: pytest.LogCaptureFixture) -> None:
    assert iob2("O I-LOC I-PER") == ["O B-LOC B-PER"]
    assert not caplog.messages


def test_iobes_with_bilou_is_refused_with_both_lines() -> None:
    text = refusal("S-PER O", "O U-LOC")
    assert "tags.conll:5: U-LOC is BILOU, but S-PER in line 1 is IOBES" in text


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("S-PER O B-LOC O", "tags.conll:3: B-LOC is the last of its span, which IOBES forbids (line 1 has S-PER)"),
        ("S-PER O B-LOC", "tags.conll:3: B-LOC is the last of its span"),
        ("S-PER B-LOC I-LOC O", "tags.conll:3: I-LOC is the last of its span"),
        ("S-PER I-LOC E-LOC", "tags.conll:2: I-LOC follows S-PER"),
        ("E-LOC O", "tags.conll:1: E-LOC opens a sentence"),
        ("S-LOC E-LOC", "tags.conll:2: E-LOC follows S-LOC"),
        ("B-LOC E-PER", "tags.conll:2: E-PER follows B-LOC"),
        ("U-LOC B-PER B-PER L-PER", "tags.conll:2: B-PER is the last of its span, which BILOU forbids"),
    ],
)
def test_a_broken_span_in_iobes_is_named(written: str, complaint: str) -> None:
    assert complaint in refusal(written)


@pytest.mark.parametrize(
    ("tag", "fix"),
    [
        ("0", "capital letter O"),
        ("o", "capital letter O"),
        ("b-PER", "write B-PER"),
        ("PER", "as in B-PER"),
        ("B-", "as in B-PER"),
        ("BI-PER", "as in B-PER"),
    ],
)
def test_an_invalid_tag_is_named_with_its_fix(tag: str, fix: str) -> None:
    text = refusal(f"O {tag} I-PER B-LOC")
    assert f"tags.conll:2: {tag!r} is not a tag" in text
    assert fix in text
    assert text.count("error:") == 1  # and none for its neighbours


def test_types_and_labels_are_sorted() -> None:
    assert entity_types(sentences_of("B-PER O", "B-LOC I-LOC")) == ["LOC", "PER"]
    assert label_names(["LOC", "PER"]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


Spans = list[tuple[int, str]]
SPANS = st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "PER", "LOC"])), max_size=8)


def write(spans: Spans, scheme: str) -> list[str]:
    """Return the tags of spans by the definition of each scheme; spans of the empty type are outside tokens."""
    tags: list[str] = []
    last = ""
    for length, kind in spans:
        if not kind:
            tags += ["O"] * length
        elif scheme == "IOB1":
            tags += [f"{'B' if kind == last else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif scheme == "IOB2":
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif length == 1:
            tags += [f"{'S' if scheme == 'IOBES' else 'U'}-{kind}"]
        else:
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 2) + [f"{'E' if scheme == 'IOBES' else 'L'}-{kind}"]
        last = kind
    return tags


@given(st.lists(SPANS.filter(bool), min_size=1, max_size=4), st.sampled_from(["IOB1", "IOB2", "IOBES", "BILOU"]))
def test_any_spans_in_any_scheme_become_the_same_iob2(sentences: list[Spans], scheme: str) -> None:
    assert iob2(*(" ".join(write(s, scheme)) for s in sentences)) == [" ".join(write(s, "IOB2")) for s in sentences]


@given(st.lists(st.sampled_from(["O", *(f"{p}-{k}" for p in "BIESLU" for k in ("X", "Y"))]), min_size=1, max_size=12))
def test_any_tags_are_refused_or_become_valid_iob2(tags: list[str]) -> None:
    try:
        found = iob2(" ".join(tags))[0].split()
    except DataError:
        return
    assert len(found) == len(tags)
    for before, tag in zip(["O", *found], found):
        assert tag[0] in "BIO"
        assert tag[0] != "I" or before[2:] == tag[2:]
