"""A model that no memory holds is refused in one sentence, before any of it is allocated, however it is asked for."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

from app.config import load
from app.errors import ConfigError, ModelError, WorkspaceError
from app.finetune.session import prepare
from app.hardware import memory
from app.models.cnn import CNN, CNNConfig
from app.models.cnn import parameter_count as cnn_parameters
from app.models.pretrained import load_classifier
from app.models.sizes import shapes_of
from tests.finetune.small_bert import few_reviews, small_bert


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Sixteen gigabytes, and a limit that makes a larger allocation fail."""
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(memory, "memory_bytes", lambda: 16 * 10**9)
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 10**9, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bert(tmp_path_factory.mktemp("model") / "bert")


@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 10**10},
        {"hidden_size": 10**9},
        {"intermediate_size": 10**12},
        {"max_position_embeddings": 10**12},
        {"type_vocab_size": 10**30},
        {"num_hidden_layers": 10**9},
        {"num_labels": 10**10},
        {"nested": {"num_layers": 10**9}},
    ],
    ids=str,
)
@pytest.mark.parametrize("pretrained", [True, False])
def test_sizes_in_a_config_json(bert: Path, tmp_path: Path, sizes: dict[str, Any], pretrained: bool) -> None:
    folder = shutil.copytree(bert, tmp_path / "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **sizes}))
    settings = [f"model.name={folder}", f"model.pretrained={str(pretrained).lower()}", *few_reviews(tmp_path / "data")]
    with pytest.raises(ModelError) as caught:
        prepare(load("sentiment", settings))
    assert "config.json" in caught.value.problems[0].fix
    with pytest.raises(ModelError):
        load_classifier(folder)


@pytest.mark.parametrize(
    "settings",
    [
        ["gpt-char", "model.width=10000000"],
        ["gpt-char", "model.layers=1000000000"],
        ["gpt-char", "model.context=1000000000000"],
        ["gpt-char", "model.vocab_size=10000000000", "model.tokenizer=bpe"],
        ["gpt-char", "data.length=100000000000000000000000"],
        ["gpt-char", "data.stride=100000000000000000000000"],
        ["gpt-char", "model.lora.rank=1000000000"],
        ["digits-cnn", "model.width=1000000000"],
        ["digits-cnn", "model.hidden=1000000000000"],
        ["digits-cnn", "data.side=4096", "data.channels=3"],
        ["hello-linear", "data.examples=10000000", "data.features=1000"],
        ["hello-logistic", "data.examples=10000000", "data.features=1000"],
        ["sentiment", "data.max_length=100000000000000000000"],
        ["causal-lm", "model.config.hidden_size=1000000000", "model.config.num_attention_heads=1"],
        ["causal-lm", "model.config.num_hidden_layers=1000000000"],
    ],
    ids=lambda settings: " ".join(settings[:2]),
)
def test_sizes_in_a_recipe(settings: list[str], tmp_path: Path) -> None:
    if settings[0] == "causal-lm":
        (tmp_path / "text.txt").write_text("a few words of text\n" * 50)
        settings = [
            *settings,
            f"data.train={tmp_path / 'text.txt'}",
            "data.dev=null",
            "data.test=null",
            "data.length=8",
            "model.name=null",
            "model.pretrained=false",
            "model.config.model_type=llama",
            "model.tokenizer=characters",
        ]
    with pytest.raises(WorkspaceError) as caught:
        prepare(load(settings[0], settings[1:]))
    assert not isinstance(caught.value, ConfigError) or caught.value.problems[0].what.count("\n") == 0


def test_the_numbers_of_parameters_are_those_of_the_models() -> None:
    for config in (CNNConfig(1, 8, 10), CNNConfig(3, 13, 4, width=5, hidden=7)):
        assert cnn_parameters(config) == sum(p.numel() for p in CNN(config).parameters())


def test_a_model_without_memory_has_the_shapes_of_a_real_one() -> None:
    config = transformers.BertConfig(hidden_size=24, num_attention_heads=2, num_hidden_layers=2, intermediate_size=8)
    shapes = shapes_of(transformers.AutoModel, config)
    assert shapes is not None
    real = transformers.AutoModel.from_config(config)
    assert {n: p.shape for n, p in shapes.named_parameters()} == {n: p.shape for n, p in real.named_parameters()}
    assert all(p.is_meta for p in shapes.parameters())
