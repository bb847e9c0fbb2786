"""A broken transformers folder is a ModelError with one sentence, whatever the library raises."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import transformers

from app.errors import ModelError
from app.models.pretrained import load_classifier, load_tokenizer
from tests.finetune.small_bert import small_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("model") / "bert")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("model.safetensors", b"garbage" * 100, "weights cannot be read"),
        ("model.safetensors", b"", "weights cannot be read"),
        ("config.json", b"{", "config.json cannot be used"),
        ("config.json", b"[]", "config.json cannot be used"),
        ("config.json", b'{"model_type": "unheard-of"}', "config.json cannot be used"),
    ],
)
def test_a_damaged_file_is_named(bert: Path, tmp_path: Path, file: str, content: bytes, expected: str) -> None:
    folder = shutil.copytree(bert, tmp_path / "damaged")
    (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=expected):
        load_classifier(folder)


def test_a_damaged_tokenizer_is_named(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "damaged")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="no tokenizer that can be read"):
        load_tokenizer(folder)


@pytest.mark.parametrize("error", [AttributeError("no padding_idx"), ImportError("\nit needs detectron2\nmore")])
def test_a_kind_whose_own_code_fails_is_named(bert: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Funnel cannot be made from a configuration, and LayoutLMv2 needs a package."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(transformers.BertForSequenceClassification, "__init__", fail)
    with pytest.raises(ModelError, match=f"a bert model cannot be used here: {str(error).split()[0]}"):
        load_classifier(bert)
