"""Training a part of a model: only that part changes, and a plain model is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app import schema
from app.errors import ModelError
from app.models.adapters import Unfreezing, add_lora, freeze_bottom, freeze_named, layers_of, merge_adapters
from app.models.pretrained import build_sequence_classifier, load_classifier
from tests.finetune.small_bert import small_bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("adapters") / "bert")


def classifier(folder: Path, **settings: Any) -> Any:
    torch.manual_seed(0)
    return build_sequence_classifier(schema.Pretrained(name=str(folder), **settings), ["no", "yes"])


def trainable(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_bottom_layers_are_frozen_with_the_embeddings(folder: Path) -> None:
    model = classifier(folder, freeze=schema.Freeze(layers=1))
    names = trainable(model)
    assert not any(".embeddings." in name or ".layer.0." in name for name in names)
    assert any(".layer.1." in name for name in names) and "classifier.weight" in names


def test_parameters_are_frozen_by_name_and_pattern(folder: Path) -> None:
    names = trainable(classifier(folder, freeze=schema.Freeze(names=("bert.encoder", "*.LayerNorm.bias"))))
    assert names and not any(name.startswith("bert.encoder") or name.endswith("LayerNorm.bias") for name in names)


def test_freezing_what_does_not_exist_is_an_error(folder: Path) -> None:
    model = classifier(folder)
    with pytest.raises(ModelError, match="the model has 2"):
        freeze_bottom(model, 3)
    with pytest.raises(ModelError, match=r"did you mean classifier\.bias"):
        freeze_named(model, ["clasifier.bias"])
    with pytest.raises(ModelError, match="nothing is left to train"):
        classifier(folder, freeze=schema.Freeze(names=("*",)))


def test_gradual_unfreezing_trains_one_more_layer_at_a_time_from_the_top(folder: Path) -> None:
    model = classifier(folder)
    unfreezing = Unfreezing(model, every=10)
    trained = []
    for step in (0, 9, 10, 20, 30, 99):
        unfreezing.apply(step)
        trained.append(trainable(model))
    head, top, both, everything = trained[0], trained[2], trained[3], trained[4]
    assert {"classifier.weight", "bert.pooler.dense.weight"} <= head and trained[1] == head
    assert {name.split(".layer.")[1][0] for name in top - head} == {"1"}
    assert {name.split(".layer.")[1][0] for name in both - top} == {"0"}
    assert all("embeddings" in name for name in everything - both) and everything == trained[5]
    assert everything == {name for name, _ in model.named_parameters()}


def test_layers_are_found_from_the_bottom_up(folder: Path) -> None:
    model = classifier(folder)
    assert [id(layer) for layer in layers_of(model)] == [id(layer) for layer in model.bert.encoder.layer]


def test_lora_trains_only_its_matrices_and_the_head_and_saves_a_plain_model(folder: Path, tmp_path: Path) -> None:
    model = add_lora(classifier(folder), schema.Lora(rank=2, targets=("query", "value")))
    assert all("lora_" in name or "classifier" in name for name in trainable(model))
    assert any("classifier" in name for name in trainable(model))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    ids = torch.tensor([[2, 5, 6, 3]])
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=torch.tensor([1])).loss.backward()
        optimizer.step()
    model.eval()
    expected = model(input_ids=ids).logits
    merge_adapters(model).save_pretrained(tmp_path, safe_serialization=True)
    plain = load_classifier(tmp_path).eval()
    assert not any("lora" in name for name, _ in plain.named_parameters())
    torch.testing.assert_close(plain(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-5)


def test_the_fix_for_an_unknown_target_lists_the_modules(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"name some of: classifier, dense, key, query, value"):
        add_lora(classifier(folder), schema.Lora(targets=("q_proj",)))


def test_a_head_for_other_classes_is_refused_unless_a_new_one_is_asked_for(folder: Path, tmp_path: Path) -> None:
    classifier(folder).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    three = ["a", "b", "c"]
    with pytest.raises(ModelError, match=r"fix: say model\.head=new"):
        build_sequence_classifier(schema.Pretrained(name=str(tmp_path)), three)
    model: Any = build_sequence_classifier(schema.Pretrained(name=str(tmp_path), head="new"), three)
    assert model.classifier.out_features == 3
