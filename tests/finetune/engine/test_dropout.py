"""The loop owns the model's mode: dropout draws in every training step, and never in an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.clip_grad import clip_grad_norm_

from app.config import load
from app.finetune.engine import rng
from app.finetune.session import Session, prepare
from app.finetune.train import train_recipe
from app.runs.folder import create_run
from tests.finetune.small_bert import small_bert
from tests.finetune.tasks.test_token_classification import SENTENCES, columns

COMMON = ("trainer.max_steps=3", "trainer.max_epochs=3", "trainer.precision=fp32", "trainer.batch_size=4")
Folders = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def recipe(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Recipe and overrides of each kind of task, with pretrained weights if the task has any."""
    import transformers

    folder = tmp_path_factory.mktemp("dropout")
    (folder / "numbers.tsv").write_text("".join(f"the film was {w}\t{i}\n" for i, w in enumerate(["good", "bad"] * 4)))
    (folder / "tags.conll").write_text(columns(SENTENCES))
    (folder / "text.txt").write_text("the story of a dull film was not very good\n" * 40)
    tokenizer = transformers.AutoTokenizer.from_pretrained(small_bert(folder / "bert"))
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder / "gpt2", safe_serialization=True)
    tokenizer.save_pretrained(folder / "gpt2")
    numbers = [f"data.{split}={folder}/numbers.tsv" for split in ("train", "dev", "test")]
    tags = [f"data.{split}={folder}/tags.conll" for split in ("train", "dev", "test")]
    text = [f"data.train={folder}/text.txt", "data.length=8", "data.stride=8"]
    bert, gpt2 = f"model.name={folder}/bert", f"model.name={folder}/gpt2"
    return {
        "text-classification": ["sentiment", *small],
        "text-regression": ["sentiment", "task=text-regression", bert, *numbers],
        "token-classification": ["ner", bert, *tags],
        "gpt2": ["gpt2", gpt2, "model.revision=null", "model.tokenizer=auto", *text],
        "causal-lm": ["causal-lm", gpt2, "model.pretrained=true", "model.config=null", "model.tokenizer=auto", *text],
        "gpt-char": ["gpt-char", "model.layers=1", "model.width=16", "model.heads=2", "model.context=8", *text],
        "image-classification": ["digits-cnn"],
    }.__getitem__


KINDS = (
    "text-classification",
    "text-regression",
    "token-classification",
    "gpt2",
    "causal-lm",
    "gpt-char",
    "image-classification",
)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def session_of(name: str, *overrides: str) -> Session:
    return prepare(load(name, overrides))


@pytest.mark.parametrize("kind", KINDS)
def test_another_dropout_gives_other_weights(kind: str, recipe: Folders) -> None:
    found = []
    for rate in ("0.0", "0.1", "0.5"):
        session = session_of(*recipe(kind), *COMMON, f"model.dropout={rate}")
        session.fit()
        found.append(weights(session.model))
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])


def plain_loss(kind: str, model: nn.Module, batch: Any) -> Tensor:
    """The mean loss as one writes it in torch."""
    if kind == "text-classification":
        return F.cross_entropy(model(**batch.inputs).logits, batch.labels)
    if kind == "token-classification":
        return F.cross_entropy(model(**batch.inputs).logits.flatten(0, 1), batch.labels.flatten(), ignore_index=-100)
    if kind == "causal-lm":
        logits = model(input_ids=batch.inputs["ids"]).logits.flatten(0, 1)
        return F.cross_entropy(logits, batch.labels.flatten(), ignore_index=-100)
    return F.cross_entropy(model(**batch.inputs), batch.labels)


@pytest.mark.parametrize("kind", ["text-classification", "token-classification", "causal-lm", "image-classification"])
def test_steps_are_those_of_plain_torch_with_the_same_generator(kind: str, recipe: Folders) -> None:
    settings = ["optimizer.name=sgd", "optimizer.lr=0.1", "optimizer.weight_decay=0", "schedule.name=constant"]
    settings += ["schedule.warmup=0", "trainer.clip=0.5", "model.dropout=0.3"]
    ours, theirs = (session_of(*recipe(kind), *COMMON, *settings) for _ in range(2))
    model = theirs.model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    batches = [batch for batch, _ in zip(ours.train_loader, range(2))]
    rng.seed(7)
    for batch in batches:
        ours.step([batch])
    rng.seed(7)
    for batch in batches:
        plain_loss(kind, model, batch).backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(weights(ours.model), weights(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["text-classification", "gpt2"])
def test_an_evaluation_between_the_steps_changes_no_weight(kind: str, recipe: Folders, tmp_path: Path) -> None:
    """It draws nothing, and training mode is back after it."""

    def trained_weights(every: int) -> dict[str, Tensor]:
        settings = [*recipe(kind), *COMMON, "model.dropout=0.3", f"trainer.eval_every={every}"]
        chosen = load(settings[0], settings[1:])
        session = prepare(chosen, lambda splits: create_run(chosen, {}, tmp_path))
        session.fit()
        assert session.run is not None
        newest = sorted(session.run.checkpoints.glob("step-*"))[-1]
        tensors: dict[str, Tensor] = load_file(str(newest / "tensors.safetensors"))
        return tensors

    often, once = trained_weights(1), trained_weights(100)
    trained = [name for name in once if name.startswith("/weights/")]
    assert trained and all(torch.equal(often[name], once[name]) for name in trained)


def test_an_evaluation_draws_no_dropout(recipe: Folders) -> None:
    session = session_of(*recipe("text-classification"), *COMMON, "model.dropout=0.5")
    session.fit()
    first, second = session.evaluate("dev"), session.evaluate("dev")
    assert first.scores == second.scores


class Normed(nn.Module):
    """Two batch norms around a linear map; the lower one is frozen by a recipe."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.map, self.upper = nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 1)

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.head(self.upper(self.map(self.lower(features))))
        return out


def test_a_frozen_batch_norm_keeps_its_running_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.finetune.tasks.linear_regression import LinearRegressionTask

    def frozen(self: Any, train: Any) -> nn.Module:
        model = Normed()
        for parameter in model.lower.parameters():
            parameter.requires_grad = False
        return model

    monkeypatch.setattr(LinearRegressionTask, "model", frozen)
    session = session_of("hello-linear", "trainer.max_epochs=2", "optimizer.lr=0.01")
    session.fit()
    model: Any = session.model
    assert int(model.lower.num_batches_tracked) == 0 and int(model.upper.num_batches_tracked) == 2


def test_finished_runs_of_two_rates_differ(small: list[str], tmp_path: Path) -> None:
    """From the command's road to the manifest: the hash that `app reproduce` compares."""
    digests = {
        train_recipe(load("sentiment", [*small, *COMMON, f"model.dropout={rate}"]), tmp_path).run.manifest()[
            "weights_sha256"
        ]
        for rate in (0.0, 0.1, 0.5)
    }
    assert len(digests) == 3
