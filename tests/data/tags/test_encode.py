"""Tagged files as windows of token ids: a label at the first token of each word, and the cache on the second read."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from app.data.batch import IGNORE_INDEX
from app.data.tags import encode as module
from app.data.tags.encode import encode_tagged, encode_words, tag_names
from app.data.tags.read import Keys
from app.errors import DataError
from tests.data.word_tokenizer import word_tokenizer

TOKENIZER = word_tokenizer()
KEYS = Keys()
NAMES = ["O", "B-PER", "I-PER"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def file(folder: Path, text: str) -> str:
    path = folder / "some.conll"
    path.write_text(text, encoding="utf-8")
    return str(path)


ADA = "Ada\tB-PER\nLovelace\tI-PER\n.\tO\n\na\tO\n"


def test_labels_stand_at_the_first_token_of_each_word(tmp_path: Path) -> None:
    data = encode_tagged(file(tmp_path, ADA), KEYS, TOKENIZER, 16, NAMES)
    assert data.ids[0].tolist() == [2, 4, 5, 6, 8, 3]
    assert data.labels[0].tolist() == [IGNORE_INDEX, 1, 2, IGNORE_INDEX, 0, IGNORE_INDEX]
    assert data.truth(0) == [1, 2, 0]
    assert data.lengths.tolist() == [6, 3]


def test_a_batch_counts_words_and_pads_labels_with_the_ignore_index(tmp_path: Path) -> None:
    batch = encode_tagged(file(tmp_path, ADA), KEYS, TOKENIZER, 16, NAMES)[np.array([1, 0])]
    assert (batch.useful, batch.padded, batch.counted) == (9, 12, 4)
    assert batch.labels is not None
    assert batch.labels[0].tolist() == [IGNORE_INDEX, 0, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]
    assert batch.inputs["attention_mask"][0].tolist() == [1, 1, 1, 0, 0, 0]
    assert batch.index.dtype == torch.int64


def test_no_word_of_a_long_sentence_is_lost() -> None:
    words, labels = ["Lovelace"] * 30, [i % 3 for i in range(30)]
    data = encode_words(TOKENIZER, [["a"], words], [[0], labels], max_length=14)
    assert int(data.lengths.max()) <= 14
    assert [i for window in range(len(data)) if data.sentences[window] == 1 for i in data.truth(window)] == labels
    assert sorted(data.sentences.tolist()) == data.sentences.tolist()


def test_a_word_that_does_not_fit_is_cut_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data = encode_words(TOKENIZER, [["a" * 150, "lovelace", "lovelacelace"]], [[0, 1, 2]], max_length=4)
    assert [i for window in range(len(data)) for i in data.truth(window)] == [0, 1, 2]
    assert caplog.messages == ["1 words have more than 2 tokens: only their first 2 are read"]


def test_a_file_is_encoded_once(
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = file(tmp_path, ADA)
    first = encode_tagged(name, KEYS, TOKENIZER, 16, NAMES)
    assert len(list((cache / "encoded").iterdir())) == 1
    monkeypatch.setattr(module, "read_tagged", None)  # not asked again
    second = encode_tagged(name, KEYS, TOKENIZER, 16, NAMES)
    for window in (0, 1):
        assert second.ids[window].tolist() == first.ids[window].tolist()
        assert second.labels[window].tolist() == first.labels[window].tolist()


def test_other_data_or_settings_are_encoded_again(tmp_path: Path) -> None:
    assert encode_tagged(file(tmp_path, ADA), KEYS, TOKENIZER, 16, NAMES).truth(0) == [1, 2, 0]
    assert encode_tagged(file(tmp_path, ADA), KEYS, TOKENIZER, 16, ["B-PER", "O", "I-PER"]).truth(0) == [0, 2, 1]
    assert encode_tagged(file(tmp_path, "Ada\tO\n"), KEYS, TOKENIZER, 16, NAMES).truth(0) == [0]


def test_a_type_that_is_not_in_train_is_named_once(tmp_path: Path, cache: Path) -> None:
    name = file(tmp_path, "a\tB-LOC\na\tO\na\tB-LOC\n\na\tB-ORG\n")
    with pytest.raises(DataError) as caught:
        encode_tagged(name, KEYS, TOKENIZER, 16, NAMES)
    assert [problem.where[-1] for problem in caught.value.problems] == ["1", "5"]
    assert "type 'LOC' is not one of the training file's: PER" in str(caught.value)
    assert not (cache / "encoded").exists()


def test_the_classes_are_b_and_i_of_every_type(tmp_path: Path) -> None:
    assert tag_names(file(tmp_path, "a\tB-PER\nb\tB-LOC\n"), KEYS) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    with pytest.raises(DataError, match="every token of the training file is O"):
        tag_names(file(tmp_path, "a\tO\n"), KEYS)


def test_a_length_without_room_for_a_word_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.max_length: 2 leaves no room"):
        encode_words(TOKENIZER, [["a"]], [[0]], max_length=2)
