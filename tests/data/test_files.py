"""Files of texts: every format is read, and all mistakes are reported together, each with its line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.data.files import MISSING, WHOLE, Columns, read_plain, read_texts
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
    texts, lines = read_plain(written(tmp_path, "a.txt", "one\n\ntwo\tstill two\n"), "text")
    assert (texts, lines.full, lines.empty) == (["one", "two\tstill two"], [1, 3], [2])
    assert read_plain(written(tmp_path, "a.jsonl", '{"text": "one"}\n'), "text")[0] == ["one"]
    assert read_plain(written(tmp_path, "a.tsv", "text\tlabel\none\tx\n"), "text")[0] == ["one"]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(
    lambda t: t.strip() and t[0] != "\ufeff"
)


ROWS = [
    ("a good film", "positive"),
    ('they said "dull", twice', "negative"),
    ("two\nlines,\tand a tab", "negative"),
    ("café 100 %", "positive"),
]


@pytest.mark.parametrize("name", ["rows.TSV", "rows.tab", "rows.CSV", "rows.JSONL", "rows.ndjson", "rows.Json"])
@pytest.mark.parametrize("header", [True, False])
def test_what_pandas_writes_is_read_back(tmp_path: Path, name: str, header: bool) -> None:
    """Every suffix that stands for a format, in any case."""
    table = pandas.DataFrame(ROWS, columns=["text", "label"])
    path, suffix = tmp_path / name, Path(name).suffix.lower()
    if suffix in (".tsv", ".tab", ".csv"):
        table.to_csv(path, sep="," if suffix == ".csv" else "\t", index=False, header=header)
    else:
        table.to_json(path, orient="records", lines=suffix != ".json")
    found = read_texts(str(path), Columns())
    assert list(zip(found.texts, found.labels)) == ROWS


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text('ab",\t\n ', min_size=1).filter(str.strip), min_size=1, max_size=5))
def test_quotes_in_a_tsv_of_pandas_are_undone(tmp_path: Path, quoting: int, texts: list[str]) -> None:
    table = pandas.DataFrame({"text": texts, "label": ["x"] * len(texts)})
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False, quoting=quoting)
    try:
        found = read_texts(str(tmp_path / "a.tsv"), Columns())
    except DataError as error:
        assert "can be read in two ways" in str(error)
        assert any(_looks_like_rows(text) for text in texts)
    else:
        assert found.texts == texts


def _looks_like_rows(text: str) -> bool:
    """Return whether a quoted cell's lines, without the blank ones, could each be a row of text and label."""
    lines = [line for line in f'"{text}"\t"x"'.split("\n") if line.strip()]
    return len(lines) > 1 and all(line.count("\t") == 1 for line in lines)


@pytest.mark.parametrize(
    "texts",
    [
        ['"Wonderful!"', "dull"],
        ['"Wonderful!" she said', '"dull"'],
        ['5" of film', '"never closed'],
        ['""', 'half a "quote'],
    ],
)
def test_quotes_in_a_plain_tsv_stay(tmp_path: Path, texts: list[str]) -> None:
    content = "".join(f"{text}\t{i % 2}\n" for i, text in enumerate(texts))
    assert read_texts(written(tmp_path, "a.tsv", content), Columns()).texts == texts


HEADED = [
    ("review,sentiment", "say data.text=review data.label=sentiment"),
    ("Utterance,Emotion", "say data.text=Utterance data.label=Emotion"),
    ("satz,klasse", "say data.text=satz data.label=klasse"),  # its label occurs nowhere else
]


@pytest.mark.parametrize(("header", "fix"), HEADED)
def test_a_header_with_other_names_is_no_row(tmp_path: Path, header: str, fix: str) -> None:
    rows = "".join(f"film {i} was quite something,{'good' if i % 2 else 'bad'}\n" for i in range(6))
    message = errors_of(written(tmp_path, "a.csv", f"{header}\n{rows}"))
    assert f"a.csv:1: the header has no column 'text' and 'label': it has {header.replace(',', ', ')}" in message
    assert fix in message and message.count("error:") == 1


def test_of_many_columns_the_longest_is_proposed_as_the_text(tmp_path: Path) -> None:
    rows = "".join(f"{i},film {i} was quite something,{'good' if i % 2 else 'bad'}\n" for i in range(6))
    message = errors_of(written(tmp_path, "a.csv", f"id,review,sentiment\n{rows}"))
    assert "say data.text=review data.label=sentiment" in message


@pytest.mark.parametrize(
    "content",
    [
        "good film\tpositive\nbad film\tnegative\n",
        "good\tpos\n" + "fine\tneg\n" * 3,  # as short as a header, but the file is too
        "It was good, I think\trare\n" + "fine\tneg\nbad\tpos\n" * 3,  # no column is called this
    ],
)
def test_a_first_row_that_can_be_data_is_a_row(tmp_path: Path, content: str) -> None:
    assert len(read_texts(written(tmp_path, "a.tsv", content), Columns()).texts) == content.count("\n")


@pytest.mark.parametrize("content", ["id,review\n1,good film\n2,bad film\n", "review\ngood film\n"])
def test_predict_needs_the_column_of_the_texts(tmp_path: Path, content: str) -> None:
    name = written(tmp_path, "a.csv", content)
    with pytest.raises(DataError, match=r"the header has no column 'text'[\s\S]*name the column of the texts 'text'"):
        read_plain(name, "text")
    assert read_plain(name, "review")[0] == [line.split(",")[-1] for line in content.splitlines()[1:]]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "good film;positive\nbad film;negative\n", "semicolons in it"),
        ("a.csv", "good film\tpositive\nbad film\tnegative\n", "tabs in it"),
        ("a.csv", "sep=;\ngood film;positive\n", "the first line, sep=;, is Excel's"),
        ("a.tsv", "good film,positive\nbad film,negative\n", "commas in it"),
        ("a.json", '{"data": [{"text": "x", "label": 1}]}', "one JSON object and not a list of rows"),
        ("a.json", '[{"text": "x", "label": 1},\n {"text": 2, "label": 1}]', "a.json:2: no text under 'text'"),
        ("a.json", '[{"text": "x", "label": 1},\n\n oops]', "a.json:3: not valid JSON"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "the label is missing"),
        ("a.jsonl", '{"text": "x", "label": null}\n', "the label is missing"),
        ("a.csv", "text,label\nx,nan\n", "the label is missing: nan"),
        ("a.csv", "text,label\nx,<NA>\n", "the label is missing: <NA>"),
        ("a.xml", "<a/>", ".xml is not a known format"),
        ("a.jsonl", "{" + ", ".join(f'"key{i}": 1' for i in range(999)) + "}", "key2"),
    ],
)
def test_a_form_that_is_not_read_is_named(tmp_path: Path, name: str, content: str, expected: str) -> None:
    message = errors_of(written(tmp_path, name, content))
    assert expected in message and message.count("error:") == 1 and len(message) < 500


def test_one_and_one_point_zero_are_one_label(tmp_path: Path) -> None:
    """pandas writes whole numbers with decimals as soon as one is missing."""
    content = '{"text": "x", "label": 1}\n{"text": "y", "label": 1.0}\n{"text": "z", "label": "1.00"}\n'
    assert read_texts(written(tmp_path, "a.jsonl", content), Columns()).labels == ["1", "1", "1"]
    assert read_texts(written(tmp_path, "a.tsv", "x\t1.0\ny\t1\nz\t1.5\n"), Columns()).labels == ["1", "1", "1.5"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts.filter(lambda label: label.strip() not in MISSING)), min_size=1))
def test_rows_written_as_jsonl_are_read_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    found = read_texts(written(tmp_path, "a.jsonl", lines), Columns())
    assert list(zip(found.texts, found.labels)) == [(text, WHOLE.sub(r"\1", label.strip())) for text, label in rows]


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
