"""Any of transformers' encoders and decoders can be a classifier, whatever its padding and its positions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from app import cli
from app.config import load
from app.errors import ModelError
from app.finetune.session import prepare
from app.finetune.tasks.text_classification import TextClassificationTask
from app.models.pretrained import max_positions
from app.runs.folder import find
from tests.finetune.small_bert import WORDS, few_reviews, small_bert


@pytest.fixture
def small_gpt2(tmp_path: Path) -> Path:
    """A GPT-2 with its tokenizer, which has no token to pad with."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*WORDS, "<end>"])}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    folder = tmp_path / "gpt2"
    config = GPT2Config(vocab_size=len(WORDS) + 1, n_positions=16, n_embd=32, n_layer=1, n_head=2)
    GPT2Model(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("task", ["text-classification", "text-regression"])
def test_a_decoder_without_a_padding_token(
    small_gpt2: Path, tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = few_reviews(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        path.write_text(path.read_text().replace("positive", "1").replace("negative", "0"))
    settings = [f"model.name={small_gpt2}", *files, f"task={task}", "trainer.max_epochs=1", "trainer.precision=fp32"]
    assert cli.main(["train", "sentiment", *settings, "--runs", str(tmp_path / "runs")]) == 0
    run = find("sentiment", tmp_path / "runs")
    texts = tmp_path / "texts.txt"
    texts.write_text("a film was good\nthe story was very very very dull\n")
    capsys.readouterr()
    assert cli.main(["predict", str(run.path), str(texts)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("configured", [3, -1, 10_000])
def test_config_and_tokenizer_agree_on_the_padding(small_gpt2: Path, tmp_path: Path, configured: int) -> None:
    """A wrong padding id in the configuration: a text alone and in a batch get the same logits all the same."""
    config = json.loads((small_gpt2 / "config.json").read_text())
    (small_gpt2 / "config.json").write_text(json.dumps({**config, "pad_token_id": configured}))
    session = prepare(load("sentiment", [f"model.name={small_gpt2}", *few_reviews(tmp_path / "data")]))
    model, task = session.model.eval(), session.task
    assert isinstance(task, TextClassificationTask)
    assert model.config.pad_token_id == task.tokenizer.pad_token_id
    indices = np.argsort(session.splits.train.lengths)[[0, 1, -1]]
    together = model(**session.splits.train[indices].inputs).logits
    for index, row in zip(indices, together):
        torch.testing.assert_close(model(**session.splits.train[np.array([index])].inputs).logits[0], row)


def test_a_token_without_a_row_is_refused_before_the_training(tmp_path: Path) -> None:
    bert = small_bert(tmp_path / "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    tokenizer.add_tokens(["stunning"])
    tokenizer.save_pretrained(bert)
    files = few_reviews(tmp_path / "data")
    prepare(load("sentiment", [f"model.name={bert}", *files]))  # no text has the new token
    (tmp_path / "data" / "dev.tsv").write_text("a stunning film\tpositive\n")
    with pytest.raises(ModelError, match="embedding table has 17 rows"):
        prepare(load("sentiment", [f"model.name={bert}", *files]))


def test_a_text_is_cut_at_what_the_model_can_read(tmp_path: Path) -> None:
    bert = small_bert(tmp_path / "bert")
    files = few_reviews(tmp_path / "data")
    train = tmp_path / "data" / "train.tsv"
    train.write_text(train.read_text() + "good " * 500 + "\tpositive\n")
    session = prepare(load("sentiment", [f"model.name={bert}", *files, "data.max_length=400"]))
    assert session.splits.train.lengths.max() == 64


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("BertConfig", {"max_position_embeddings": 512}, 512),
        ("RobertaConfig", {"max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ("GPT2Config", {"n_positions": 1024}, 1024),
        ("DebertaV2Config", {"position_biased_input": False}, None),
        ("T5Config", {}, None),
    ],
)
def test_positions(kind: str, settings: dict[str, Any], expected: int | None) -> None:
    import transformers

    assert max_positions(getattr(transformers, kind)(**settings)) == expected


def test_a_run_can_be_used_on_a_machine_that_lacks_what_it_was_trained_with(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = find("sentiment", trained)
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    (elsewhere / "model").symlink_to(run.model.resolve())
    (elsewhere / "run.json").write_text((run.path / "run.json").read_text())
    recipe = (run.path / "recipe.yaml").read_text()
    for old, new in (("precision: fp32", "precision: fp16"), ("strategy: auto", "strategy: fsdp")):
        assert old in recipe
        recipe = recipe.replace(old, new)
    (elsewhere / "recipe.yaml").write_text(recipe.replace("accelerator: auto", "accelerator: gpu"))
    capsys.readouterr()
    assert cli.main(["evaluate", str(elsewhere), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.5
