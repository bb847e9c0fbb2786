"""Everything that is wrong with a recipe's data is said at once, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import load
from app.errors import ConfigError, DataError
from app.finetune.session import read_splits
from app.finetune.tasks import build_task
from tests.finetune.small_bert import small_bert


def test_rows_and_labels_of_every_split(tmp_path: Path) -> None:
    model = small_bert(tmp_path / "bert")
    (tmp_path / "train.tsv").write_text("good film\tpositive\nbad film\tnegative\n")
    (tmp_path / "dev.tsv").write_text("good\tpositive\textra\nfine\tmeh\n")
    files = [f"data.{split}={tmp_path / split}.tsv" for split in ("train", "dev", "test")]
    with pytest.raises(DataError) as raised:
        read_splits(build_task(load("sentiment", [f"model.name={model}", *files])))
    said = str(raised.value)
    assert [part in said for part in ("dev.tsv:1: 3 columns", "dev.tsv:2: label 'meh'", "test.tsv")] == [True] * 3
    assert len(raised.value.problems) == 3


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    files = [f"data.{split}={tmp_path / split}.tsv" for split in ("train", "dev")]
    with pytest.raises(DataError) as raised:
        read_splits(build_task(load("sentiment", files)))
    assert [f"{split}.tsv" in str(raised.value) for split in ("train", "dev")] == [True, True]


def said_of(recipe: str, overrides: list[str]) -> str:
    with pytest.raises(DataError) as raised:
        read_splits(build_task(load(recipe, overrides)))
    return str(raised.value)


def test_a_bad_training_file_does_not_hide_bad_rows_of_the_others(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.tsv").write_bytes(b"fine\tgood\nalone\n\xff\tbad\n")
    files = [f"data.{split}={tmp_path / split}.tsv" for split in ("train", "dev", "test")]
    said = said_of("sentiment", files)
    assert said.count("1 column instead of 2") == said.count("is not UTF-8") == 3


def test_a_bad_training_file_does_not_hide_bad_tags_of_the_others(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.conll").write_text("Ada\tB-PER\nwrote\tO\tO\nmuch\tnothing\n")
    files = [f"data.{split}={tmp_path / split}.conll" for split in ("train", "dev", "test")]
    said = said_of("ner", files)
    assert said.count("3 columns, but") == said.count("'nothing' is not a tag") == 3


@pytest.mark.parametrize("tokenizer", ["bpe", "characters"])
def test_a_bad_training_text_does_not_hide_what_is_wrong_with_the_others(tokenizer: str, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / split).write_bytes(b"fine\n\xff\n")
    files = [f"data.{split}={tmp_path / split}" for split in ("train", "dev", "test")]
    assert said_of("gpt-char", [f"model.tokenizer={tokenizer}", *files]).count("is not UTF-8") == 3


def test_bad_images_of_every_split_are_named(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "0.png").write_bytes(b"no image")
    files = [f"data.{split}={tmp_path / split}" for split in ("train", "dev", "test")]
    said = said_of("digits-cnn", files)
    assert (said.count("not an image"), said.count("no such folder")) == (4, 1)


def test_a_regression_has_nothing_to_predict_from_a_file() -> None:
    with pytest.raises(ConfigError, match="nothing to predict"):
        build_task(load("hello-linear")).predict_dataset(None)
