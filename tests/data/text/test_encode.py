"""A text is encoded once, however its tokenizer was used before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

from app.data.files import Columns
from app.data.text.encode import class_names, encode_texts
from app.errors import DataError
from app.models.pretrained import load_tokenizer
from tests.finetune.small_bert import few_reviews, small_bert


def test_a_second_run_uses_the_arrays_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    files = [override.partition("=")[2] for override in few_reviews(tmp_path / "data")]
    folder = small_bert(tmp_path / "bert")
    for _ in range(2):
        tokenizer = load_tokenizer(folder)  # as loaded: no truncation set yet
        for file in files:
            encode_texts(file, Columns(), tokenizer, 16, ["negative", "positive"])
        assert len(list((tmp_path / "cache" / "encoded").iterdir())) == len(files)


def test_an_error_does_not_repeat_a_whole_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.tsv").write_text("good film\t" + "word " * 9999 + "\n")
    tokenizer = load_tokenizer(small_bert(tmp_path / "bert"))
    for classes in (["x", "y"], None):
        with pytest.raises(DataError) as caught:
            encode_texts(str(tmp_path / "a.tsv"), Columns(), tokenizer, 16, classes)
        assert len(str(caught.value)) < 500


def test_a_label_of_too_many_digits_for_an_int_is_a_name(tmp_path: Path) -> None:
    long = "9" * 5000
    (tmp_path / "a.tsv").write_text(f"good film\t{long}\nbad film\t1\n")
    assert class_names(str(tmp_path / "a.tsv"), Columns()) == ["1", long]


@pytest.mark.parametrize(
    "setting",
    [
        {"truncation_side": "left"},
        {"do_lower_case": False},
        {"model_max_length": 5},
        {"added": ["film was"]},
    ],
)
def test_what_changes_the_ids_changes_the_key(
    setting: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arrays are those that transformers gives without a cache."""
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    text = "The film was very good the story was not"
    (tmp_path / "a.tsv").write_text(f"{text}\tx\n")
    folder = small_bert(tmp_path / "bert")

    def ids() -> list[int]:
        encoded = encode_texts(str(tmp_path / "a.tsv"), Columns(), load_tokenizer(folder), 6, ["x"])
        return list(encoded.ids[0].tolist())

    def expected() -> list[int]:
        return list(load_tokenizer(folder)(text, truncation=True, max_length=6)["input_ids"])

    before = ids()
    assert before == expected()
    added = setting.pop("added", [])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **setting)
    tokenizer.add_tokens(added)
    tokenizer.save_pretrained(folder)
    assert ids() == expected()
    assert setting == {"model_max_length": 5} or ids() != before


def test_a_special_token_in_a_text_is_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(small_bert(tmp_path / "bert"))
    ids = tokenizer("a [SEP] film [PAD]")["input_ids"]
    assert [ids.count(i) for i in (tokenizer.sep_token_id, tokenizer.pad_token_id)] == [1, 0]
    tokenizer.save_pretrained(tmp_path / "saved")
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")("a [SEP] film [PAD]")["input_ids"] == ids


def test_a_label_in_the_first_column_is_found_out(tmp_path: Path) -> None:
    rows = "".join(f"{'good' if i % 2 else 'bad'}\tfilm number {i}\n" for i in range(10))
    (tmp_path / "a.tsv").write_text(rows)
    with pytest.raises(DataError, match="10 different labels for 10 texts"):
        class_names(str(tmp_path / "a.tsv"), Columns())
    (tmp_path / "a.tsv").write_text("label\ttext\n" + rows)
    assert class_names(str(tmp_path / "a.tsv"), Columns()) == ["bad", "good"]
