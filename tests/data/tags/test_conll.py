"""CoNLL columns: the forms that real files have are read, and an unreadable line is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.data.tags.read import read_tagged
from app.errors import DataError


def written(folder: Path, text: str | bytes, name: str = "some.conll") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def pairs(folder: Path, text: str | bytes) -> list[list[tuple[str, str]]]:
    return [list(zip(s.tokens, s.tags)) for s in read_tagged(written(folder, text))]


def refusal(folder: Path, text: str | bytes, name: str = "some.conll") -> str:
    with pytest.raises(DataError) as caught:
        read_tagged(written(folder, text, name))
    return str(caught.value)


ADA = [[("Ada", "B-PER"), ("wrote", "O")], [("Hi", "O")]]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Ada\tB-PER\nwrote\tO\n\nHi\tO\n", id="tabs"),
        pytest.param("Ada B-PER\nwrote O\n\nHi O", id="spaces"),
        pytest.param("Ada  B-PER\nwrote \t O\n\n\n\nHi O\n\n", id="wide"),
        pytest.param("Ada\tB-PER\r\nwrote\tO\r\n\r\nHi\tO\r\n", id="crlf"),
        pytest.param("\ufeffAda\tB-PER\nwrote\tO\n\nHi\tO\n", id="bom"),
        pytest.param("Ada\tB-PER\nwrote\tO\n \t \nHi\tO\n", id="blank"),
        pytest.param("Ada\tB-PER\nwrote\tO\n\u00a0\nHi\tO\n", id="nbsp"),
        pytest.param("Ada\tB-PER\nwrote\tO\n\nHi\tO\n\ufeff\n", id="last-bom"),
        pytest.param("Ada\tB-PER\nwrote\tO\n\ufeff\nHi\tO\n", id="bom-line"),
        pytest.param("-DOCSTART- -X- O O\n\nAda NNP B-NP B-PER\nwrote VBD B-VP O\n\nHi UH O O\n", id="conll03"),
        pytest.param("-DOCSTART-\tO\n\nAda\tB-PER\nwrote\tO\n-DOCSTART-\tO\nHi\tO\n", id="docstart"),
        pytest.param("# sent_id 4\nAda\tB-PER\nwrote\tO\n\n# text = Hi\nHi\tO\n", id="comments"),
        pytest.param("# text = Ada wrote\nAda B-PER\nwrote O\n\nHi O\n", id="spaced"),
    ],
)
def test_each_form_of_columns_is_read(tmp_path: Path, text: str) -> None:
    assert pairs(tmp_path, text) == ADA


def test_a_hash_may_be_a_token(tmp_path: Path) -> None:
    assert pairs(tmp_path, "# O\n1 O\n") == [[("#", "O"), ("1", "O")]]
    assert pairs(tmp_path, "#\tO\n1\tO\n#tag\tO\n") == [[("#", "O"), ("1", "O"), ("#tag", "O")]]


def test_a_token_between_tabs_may_hold_a_space(tmp_path: Path) -> None:
    assert pairs(tmp_path, "New York\tB-LOC\nis\tO\n") == [[("New York", "B-LOC"), ("is", "O")]]


def test_each_token_knows_its_line(tmp_path: Path) -> None:
    sentences = read_tagged(written(tmp_path, "\nAda\tB-PER\nwrote\tO\n\n\nHi\tO\n"))
    assert [s.lines for s in sentences] == [[2, 3], [6]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Ada\tB-PER\nwrote\n", "some.conll:2: 1 column, but the other lines have 2"),
        ("Ada\tB-PER\nNew\tYork\tB-LOC\nis\tO\n", "some.conll:2: 3 columns, but the other lines have 2"),
        ("Ada B-PER\nNew York B-LOC\nis O\n", "some.conll:2: 3 columns, but the other lines have 2"),
        ("Ada\tB-PER\nwrote O\nit\tO\n", "some.conll:2: 1 column, but the other lines have 2"),
        ("Ada\tB-PER\n\tO\n", "some.conll:2: the token is empty"),
        ("Ada\tB-PER\nwrote\t\n", "some.conll:2: the tag is empty"),
        ("Ada\tB-PER\nwrote\tVERB\n", "some.conll:2: 'VERB' is not a tag"),
        ("# newdoc\nAda B-PER\n", "some.conll:1: 'newdoc' is not a tag"),
        ("Ada\tB-PER\nwrote\0\tO\n", "some.conll:2: the token holds a carriage return or a null character"),
        ("Ada\tO\nwrote\tO\rit\tO\n", "some.conll:2: 3 columns"),
        (b"Ada\tB-PER\nwr\xf6te\tO\n", "some.conll:2: byte 3 of the line is not UTF-8"),
        ("Ada\tB-PER\n".encode("utf-16"), "not UTF-8"),
        ("", "the file has no sentences"),
        ("\n\ufeff\n  \n", "the file has no sentences"),
        ("-DOCSTART- O\n", "the file has no sentences"),
    ],
)
def test_an_unreadable_line_is_named(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    assert complaint in refusal(tmp_path, text)


def test_all_errors_are_reported_together_up_to_a_limit(tmp_path: Path) -> None:
    text = refusal(tmp_path, "Ada\tB-PER\n" * 100 + "bad\n" * 30)
    assert text.count("1 column, but") == 20
    assert "10 more lines like these" in text


def test_the_fix_for_a_missing_file_is_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path, "Ada\tO\n", "train.conll")
    with pytest.raises(DataError, match=r"did you mean .*train\.conll"):
        read_tagged(str(tmp_path / "trian.conll"))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "sentences", "tokens", "people"),
    [
        ("wnut17train.conll", 3394, 62730, 660),
        ("emerging.dev.conll", 1009, 15733, 470),
        ("emerging.test.annotated", 1287, 23394, 429),
    ],
)
def test_wnut17_is_read_completely(shared: Path, name: str, sentences: int, tokens: int, people: int) -> None:
    found = read_tagged(str(shared / "wnut17" / name))
    assert len(found) == sentences
    assert sum(len(s.tokens) for s in found) == tokens
    assert Counter(tag for s in found for tag in s.tags)["B-person"] == people


SHAPES = [
    "",
    "Ada\tB-PER",
    "Ada B-PER",
    "x O",
    "x\tO",
    "-DOCSTART- O",
    "# c",
    "\ufeff",
    "x\tI-PER",
    "x\tE-PER",
    "\t",
    " x\t",
]
LINES = st.lists(st.sampled_from(SHAPES) | st.text(max_size=12), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(LINES.map(lambda lines: "\n".join(lines).encode("utf-8", "replace")) | st.binary(max_size=60))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    try:
        sentences = read_tagged(written(tmp_path, content))
    except DataError:
        return
    assert sentences
    for sentence in sentences:
        assert len(sentence.tokens) == len(sentence.tags) == len(sentence.lines) > 0
        assert all(sentence.tokens)
