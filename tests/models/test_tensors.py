"""config.json and the weights must be of one model: what is missing, left over or of another shape is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from app.errors import ModelError
from app.models.causal_lm import build_causal_lm, build_config
from app.models.pretrained import build_sequence_classifier, build_token_classifier, load_classifier
from app.schema import CausalLM, Pretrained
from tests.finetune.small_bert import small_bert

CLASSES = ["bad", "good"]
SIZES: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
}


def saved(folder: Path, kind: str, config: Any) -> Path:
    """Return a folder with a random model of one of transformers' classes."""
    getattr(transformers, kind)(config).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(params=["BertModel", "BertForSequenceClassification", "BertForMaskedLM"])
def bert(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Weights without a head, whose names have no prefix; with our head; with another task's, and without a pooler."""
    return saved(tmp_path / "bert", request.param, transformers.BertConfig(**SIZES, id2label=dict(enumerate(CLASSES))))


def configured(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        build_sequence_classifier(Pretrained(name=str(folder), **settings), CLASSES)
    assert all(problem.where == str(folder) for problem in caught.value.problems)
    return caught.value.problems[0].what


@pytest.mark.parametrize("head", ["kept", "new"])
def test_weights_of_the_same_model_are_read(bert: Path, head: Literal["kept", "new"]) -> None:
    model = build_sequence_classifier(Pretrained(name=str(bert), head=head), CLASSES)
    stored = {name.removeprefix("bert."): value for name, value in load_file(bert / "model.safetensors").items()}
    own = model.state_dict()
    compared = [n for n in own if n.startswith("bert.") and "pooler" not in n and n.removeprefix("bert.") in stored]
    assert len(compared) == 37
    assert all(torch.equal(own[name], stored[name.removeprefix("bert.")]) for name in compared)


@pytest.mark.parametrize("head", ["kept", "new"])
def test_more_layers_than_the_weights_have(bert: Path, head: str) -> None:
    configured(bert, num_hidden_layers=3)
    what = refused(bert, head=head)
    assert "the weights lack 16 tensors (" in what and "encoder.layer.2.attention.output" in what and "and more" in what


@pytest.mark.parametrize("head", ["kept", "new"])
def test_fewer_layers_than_the_weights_have(bert: Path, head: str) -> None:
    configured(bert, num_hidden_layers=1)
    what = refused(bert, head=head)
    assert "the weights have 16 tensors (" in what and "encoder.layer.1." in what


@pytest.mark.parametrize("head", ["kept", "new"])
def test_another_width_than_the_weights_have(bert: Path, head: str) -> None:
    configured(bert, intermediate_size=48)
    what = refused(bert, head=head)
    assert "in another shape than config.json says" in what and "intermediate.dense" in what


def test_a_tensor_that_was_taken_out_is_named(bert: Path) -> None:
    weights = load_file(bert / "model.safetensors")
    name = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    del weights[name]
    save_file(weights, bert / "model.safetensors", metadata={"format": "pt"})
    assert f"the weights lack 1 tensor ({name.removeprefix('bert.')})" in refused(bert).replace("bert.", "")


def test_a_head_of_another_size_is_not_the_models_fault(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bert", "BertForSequenceClassification", transformers.BertConfig(**SIZES, num_labels=5))
    assert "a head for other classes" in refused(folder)
    build_sequence_classifier(Pretrained(name=str(folder), head="new"), CLASSES)


def test_a_pooler_that_the_task_does_not_use_may_be_there(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bert", "BertModel", transformers.BertConfig(**SIZES))
    build_token_classifier(Pretrained(name=str(folder)), ["O", "B-X"])


def test_a_saved_classifier_needs_its_head(tmp_path: Path) -> None:
    folder = small_bert(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"the weights lack 2 tensors \(classifier.bias, classifier.weight\)"):
        load_classifier(folder)


@pytest.mark.parametrize(("layers", "expected"), [(1, "the weights have 9 tensors"), (3, "the weights lack 9 tensors")])
def test_a_causal_model_needs_all_of_its_weights(tmp_path: Path, layers: int, expected: str) -> None:
    folder = saved(tmp_path / "llama", "LlamaForCausalLM", transformers.LlamaConfig(**SIZES))
    settings = CausalLM(name=str(folder))
    build_causal_lm(settings, build_config(settings), 20, None)
    configured(folder, num_hidden_layers=layers)
    with pytest.raises(ModelError, match=expected):
        build_causal_lm(settings, build_config(settings), 20, None)


def test_a_causal_model_without_its_head_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "llama", "LlamaModel", transformers.LlamaConfig(**SIZES))
    settings = CausalLM(name=str(folder))
    with pytest.raises(ModelError, match=r"lack 1 tensor \(lm_head.weight\)"):
        build_causal_lm(settings, build_config(settings), 20, None)


def test_a_tied_head_need_not_be_there(tmp_path: Path) -> None:
    config = transformers.GPT2Config(vocab_size=20, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    folder = saved(tmp_path / "gpt2", "GPT2Model", config)
    settings = CausalLM(name=str(folder))
    build_causal_lm(settings, build_config(settings), 20, None)


def test_constants_of_older_releases_are_no_surprise(tmp_path: Path) -> None:
    folder = saved(tmp_path / "bert", "BertModel", transformers.BertConfig(**SIZES))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.position_ids"] = torch.arange(16)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    build_sequence_classifier(Pretrained(name=str(folder)), CLASSES)


def test_the_same_weights_in_shards(tmp_path: Path) -> None:
    model = transformers.BertModel(transformers.BertConfig(**SIZES))
    model.save_pretrained(tmp_path / "whole", safe_serialization=True)
    model.save_pretrained(tmp_path / "shards", safe_serialization=True, max_shard_size="8KB")
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    for folder in ("whole", "shards"):
        build_sequence_classifier(Pretrained(name=str(tmp_path / folder)), CLASSES)
        configured(tmp_path / folder, num_hidden_layers=1)
        assert "the weights have 16 tensors" in refused(tmp_path / folder)
