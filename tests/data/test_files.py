"""Files of texts: every format is read, and all mistakes are reported together, each with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.data.files import Columns, read_plain, read_texts
from app.errors import DataError


def written(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def errors_of(name: str) -> str:
    with pytest.raises(DataError) as caught:
        read_texts(name, Columns())
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "good film\tpositive\nbad, film\tnegative\n"),
        ("header.tsv", "label\ttext\npositive\tgood film\nnegative\tbad, film\n"),
        ("windows.tsv", "\ufefftext\tlabel\r\ngood film\tpositive\r\nbad, film\tnegative\r\n"),
        ("blank.tsv", "good film\tpositive\n\nbad, film\tnegative"),
        ("a.csv", 'good film,positive\n"bad, film",negative\n'),
        ("extra.csv", 'id,text,label\n1,good film,positive\n2,"bad, film",negative\n'),
        ("a.jsonl", '{"text": "good film", "label": "positive"}\n\n{"label": "negative", "text": "bad, film"}\n'),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    rows = read_texts(written(tmp_path, name, content), Columns())
    assert rows.texts == ["good film", "bad, film"]
    assert rows.labels == ["positive", "negative"]


def test_a_quoted_csv_text_may_span_lines_and_has_the_number_of_its_first_line(tmp_path: Path) -> None:
    rows = read_texts(written(tmp_path, "a.csv", 'text,label\n"one\ntwo",1\nthree,0\n'), Columns())
    assert rows.texts == ["one\ntwo", "three"]
    assert rows.lines == [2, 4]


def test_numbers_and_booleans_are_labels_in_jsonl(tmp_path: Path) -> None:
    rows = read_texts(
        written(tmp_path, "a.jsonl", '{"text": "x", "label": 1}\n{"text": "y", "label": true}\n'), Columns()
    )
    assert rows.labels == ["1", "True"]


def test_all_errors_of_a_file_are_reported_together(tmp_path: Path) -> None:
    content = b"fine\tyes\none\ttwo\tthree\n\tno\nlabel is missing\t\n\xff\xfe\tyes\nalone\n"
    message = errors_of(written(tmp_path, "a.tsv", content))
    assert message.count("error:") == 5
    assert "a.tsv:2: 3 columns instead of 2" in message
    assert "a.tsv:3: the text is empty" in message
    assert "a.tsv:4: the label is empty" in message
    assert "a.tsv:5: byte 1 of the line is not UTF-8" in message
    assert "a.tsv:6: 1 column instead of 2" in message


def test_a_long_list_of_errors_is_cut_and_the_rest_counted(tmp_path: Path) -> None:
    message = errors_of(written(tmp_path, "a.tsv", "a\tb\tc\td\n" * 100 + "x\ty\n"))
    assert message.count("columns instead of") == 20
    assert "80 more lines like these" in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", "", "the file has no rows"),
        ("a.tsv", "text\tlabel\n", "the file has no rows"),
        ("a.tsv", "sentence\tlabel\nx\ty\n", "fix: say data.text=sentence"),
        ("a.csv", '"never closed,1\n', "a.csv:1: not valid CSV"),
        ("a.jsonl", '{"text": "x"}\n', "no label under 'label'"),
        ("a.jsonl", '{"review": "x", "label": 1}\n', "no text under 'text': the keys are review, label"),
        ("a.jsonl", "[1]\n", "not a JSON object"),
        ("a.jsonl", "{oops\n", "not valid JSON"),
        ("a.jsonl", "[" * 100_000, "not valid JSON"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}\n', "surrogate"),
        ("a.parquet", "x", ".parquet is not a known format"),
    ],
)
def test_each_mistake_has_its_message(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert expected in errors_of(written(tmp_path, name, content))


def test_the_fix_for_a_missing_file_is_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path, "train.tsv", "x\ty\n")
    assert f"did you mean {tmp_path}/train.tsv?" in errors_of(f"{tmp_path}/trian.tsv")


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    rows = read_texts(written(tmp_path, "a.csv", "Review,stars\nfine,4\n"), Columns("review", "stars"))
    assert (rows.texts, rows.labels) == (["fine"], ["4"])


def test_plain_text_is_one_text_a_line(tmp_path: Path) -> None:
    assert read_plain(written(tmp_path, "a.txt", "one\n\ntwo\tstill two\n"), "text") == ["one", "two\tstill two"]
    assert read_plain(written(tmp_path, "a.jsonl", '{"text": "one"}\n'), "text") == ["one"]
    assert read_plain(written(tmp_path, "a.tsv", "text\tlabel\none\tx\n"), "text") == ["one"]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(
    lambda t: t.strip() and t[0] != "\ufeff"
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), min_size=1))
def test_rows_written_as_jsonl_are_read_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    found = read_texts(written(tmp_path, "a.jsonl", lines), Columns())
    assert list(zip(found.texts, found.labels)) == [(text, label.strip()) for text, label in rows]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([".tsv", ".csv", ".jsonl"]))
def test_any_bytes_give_rows_or_a_data_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    name = written(tmp_path, f"fuzz{suffix}", content)
    try:
        rows = read_texts(name, Columns())
    except DataError as error:
        assert all(problem.fix for problem in error.problems)
    else:
        assert len(rows.texts) == len(rows.labels) == len(rows.lines) > 0
