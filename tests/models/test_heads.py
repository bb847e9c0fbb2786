"""A head that comes with the weights keeps its answers, by the names of its classes, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from app.config import load
from app.errors import ModelError
from app.finetune.session import prepare
from app.models.pretrained import build_sequence_classifier, build_token_classifier
from app.schema import Pretrained
from tests.finetune.small_bert import few_reviews, small_bert

IDS = torch.tensor([[2, 5, 7, 3], [2, 6, 8, 3]])


def saved(folder: Path, kind: str, names: list[str] | None, **settings: Any) -> tuple[Path, Tensor]:
    """A trained model's folder with these classes, and transformers' logits for IDS."""
    config = transformers.AutoConfig.from_pretrained(small_bert(folder), **settings)
    config.id2label = dict(enumerate(names or [f"LABEL_{i}" for i in range(settings.get("num_labels", 2))]))
    config.label2id = {name: i for i, name in config.id2label.items()}
    torch.manual_seed(1)
    model = getattr(transformers, kind).from_config(config).eval()
    model.save_pretrained(folder)
    return folder, model(input_ids=IDS).logits.detach()


@pytest.mark.parametrize("kind", ["AutoModelForSequenceClassification", "AutoModelForTokenClassification"])
def test_the_rows_of_a_kept_head_follow_the_names_of_its_classes(tmp_path: Path, kind: str) -> None:
    folder, logits = saved(tmp_path / "model", kind, ["O", "B-PER", "I-PER"], num_labels=3)
    build: Any = build_token_classifier if "Token" in kind else build_sequence_classifier
    model = build(Pretrained(name=str(folder)), ["i-per", "O", "B-PER"]).eval()
    torch.testing.assert_close(model(input_ids=IDS).logits, logits[..., [2, 0, 1]])
    assert model.config.id2label == {0: "i-per", 1: "O", 2: "B-PER"}


def test_classes_without_names_are_their_numbers(tmp_path: Path) -> None:
    folder, logits = saved(tmp_path / "model", "AutoModelForSequenceClassification", None)
    model = build_sequence_classifier(Pretrained(name=str(folder)), ["0", "1"]).eval()
    torch.testing.assert_close(model(input_ids=IDS).logits, logits)
    with pytest.raises(ModelError, match=r"without names for its classes[\s\S]*model.head=new"):
        build_sequence_classifier(Pretrained(name=str(folder)), ["bad", "good"])


def test_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path / "model", "AutoModelForSequenceClassification", ["cat", "dog"])
    with pytest.raises(ModelError, match="the classes cat, dog, and the data's are bad, good"):
        build_sequence_classifier(Pretrained(name=str(folder)), ["bad", "good"])
    build_sequence_classifier(Pretrained(name=str(folder), head="new"), ["bad", "good"])


def test_the_kind_of_problem_of_the_weights_does_not_stay(tmp_path: Path) -> None:
    """transformers' pipeline would answer with sigmoids instead of probabilities."""
    problem = {"problem_type": "multi_label_classification"}
    folder, _ = saved(tmp_path / "model", "AutoModelForSequenceClassification", ["bad", "good"], **problem)
    model: Any = build_sequence_classifier(Pretrained(name=str(folder)), ["bad", "good"])
    assert model.config.problem_type == "single_label_classification"


def test_weights_that_are_not_the_models_are_refused(tmp_path: Path) -> None:
    """transformers leaves what it does not find random, and notes it in its log alone."""
    folder, _ = saved(tmp_path / "model", "AutoModelForSequenceClassification", ["bad", "good"])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"the weights lack 16 tensors \(bert\.encoder\.layer\.2"):
        build_sequence_classifier(Pretrained(name=str(folder)), ["bad", "good"])


def test_a_kept_regression_head_answers_as_before_in_the_units_of_its_labels(tmp_path: Path) -> None:
    folder, logits = saved(tmp_path / "model", "AutoModelForSequenceClassification", ["number"], num_labels=1)
    files = few_reviews(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():
        path.write_text(path.read_text().replace("positive", "70.5").replace("negative", "12.25"))
    session = prepare(load("sentiment", [f"model.name={folder}", *files, "task=text-regression"]))
    task: Any = session.task
    answers = session.model.eval()(input_ids=IDS).logits * task.scale + task.shift
    torch.testing.assert_close(answers, logits, rtol=1e-4, atol=1e-4)
    task.finish(session.model)
    torch.testing.assert_close(session.model(input_ids=IDS).logits, logits, rtol=1e-4, atol=1e-4)
