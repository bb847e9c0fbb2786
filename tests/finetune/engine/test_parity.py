"""Our engine's loss curve is that of transformers' Trainer on the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from app.config import load
from app.finetune.session import prepare
from app.runs.folder import Run
from app.runs.records import read_records
from app.schema import Recipe

STEPS = 12


def recipe_of(small: list[str], *overrides: str) -> Recipe:
    settings = ["model.dropout=0", "trainer.log_every=1", "optimizer.lr=1e-3", "optimizer.weight_decay=0.01"]
    return load("sentiment", [*small, *settings, "schedule.warmup=0", f"trainer.max_steps={STEPS}", *overrides])


def our_losses(recipe: Recipe, folder: Path) -> list[float]:
    run = Run(folder)
    folder.mkdir()
    session = prepare(recipe, lambda _: run)
    session.fit()
    return [record["train/loss"] for record in read_records(run.metrics) if "train/loss" in record]


def their_losses(recipe: Recipe, folder: Path) -> list[float]:
    session: Any = prepare(recipe)
    model: Any = AutoModelForSequenceClassification.from_pretrained(session.task.recipe.model.name, num_labels=2)
    model.classifier.load_state_dict(session.model.classifier.state_dict())
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batches = []
    for epoch in range(recipe.trainer.max_epochs):
        session.train_loader.sampler.begin(epoch)
        batches += [{**batch.inputs, "labels": batch.labels} for batch in session.train_loader]

    class Same(Trainer):  # type: ignore[misc]
        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        learning_rate=recipe.optimizer.lr,
        weight_decay=recipe.optimizer.weight_decay,
        warmup_steps=0,
        max_grad_norm=recipe.trainer.clip or 0.0,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
    )
    trainer = Same(model=model, args=arguments)
    trainer.train()
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


@pytest.mark.parametrize("clip", ["null", "0.5"])
def test_losses_are_those_of_transformers_trainer(small: list[str], tmp_path: Path, clip: str) -> None:
    recipe = recipe_of(small, f"trainer.clip={clip}")
    ours, theirs = our_losses(recipe, tmp_path / "ours"), their_losses(recipe, tmp_path / "theirs")
    assert len(ours) == len(theirs) == STEPS
    assert ours == pytest.approx(theirs, rel=1e-4, abs=6e-5)  # Trainer rounds what it logs to four decimals
