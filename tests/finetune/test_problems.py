"""Everything that is wrong with a recipe's data is said at once, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load
from app.errors import ConfigError, DataError
from app.finetune.session import splits_of
from app.finetune.task import task_of
from tests.finetune.small_bert import small_bert


def test_rows_and_labels_of_every_split(tmp_path: Path) -> None:
    model = small_bert(tmp_path / "bert")
    (tmp_path / "train.tsv").write_text("good film\tpositive\nbad film\tnegative\n")
    (tmp_path / "dev.tsv").write_text("good\tpositive\textra\nfine\tmeh\n")
    files = [f"data.{split}={tmp_path / split}.tsv" for split in ("train", "dev", "test")]
    with pytest.raises(DataError) as raised:
        splits_of(task_of(load("sentiment", [f"model.name={model}", *files])))
    said = str(raised.value)
    assert [part in said for part in ("dev.tsv:1: 3 columns", "dev.tsv:2: label 'meh'", "test.tsv")] == [True] * 3
    assert len(raised.value.problems) == 3


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    files = [f"data.{split}={tmp_path / split}.tsv" for split in ("train", "dev")]
    with pytest.raises(DataError) as raised:
        splits_of(task_of(load("sentiment", files)))
    assert [f"{split}.tsv" in str(raised.value) for split in ("train", "dev")] == [True, True]


def test_a_regression_has_nothing_to_predict_from_a_file() -> None:
    with pytest.raises(ConfigError, match="nothing to predict"):
        task_of(load("hello-linear")).unlabelled(None)
