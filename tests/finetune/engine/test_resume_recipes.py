"""Every kind of recipe resumes to the same bits: encoders with dropout, adapters, gradual unfreezing, GPTs, images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app import config
from app.finetune.engine.fabric import Callee
from app.finetune.train import resume_run, train_recipe
from app.runs import checkpoints
from app.runs.folder import find_run
from app.runs.records import read_records

STEPS = 6
COMMON = (f"trainer.max_steps={STEPS}", "trainer.accumulate=2", "trainer.log_every=1", "trainer.precision=fp32")
SENTIMENT = ("trainer.batch_tokens=128", "model.dropout=0.2", "trainer.eval_every=4")
RECIPES = {
    "encoder": ("sentiment", SENTIMENT),
    "lora": ("sentiment", (*SENTIMENT, "model.lora={rank: 2}")),
    "unfreezing": ("sentiment", (*SENTIMENT, "model.freeze={gradual: 2}")),
    "gpt": (
        "gpt-char",
        (
            "model.layers=1",
            "model.heads=2",
            "model.width=16",
            "model.context=16",
            "model.dropout=0.2",
            "trainer.eval_every=4",
        ),
    ),
    "cnn": ("digits-cnn", ("trainer.batch_size=16", "trainer.eval_every=4")),
    "logistic": ("hello-logistic", ("trainer.batch_size=16", "trainer.eval_every=4")),
}


@pytest.mark.parametrize(
    "kind", [k if k in ("encoder", "gpt") else pytest.param(k, marks=pytest.mark.slow) for k in RECIPES]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    kind: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, settings = RECIPES[kind]
    overrides = [*(small if name == "sentiment" else ()), *settings, *COMMON]
    recipe = config.load(name, overrides)
    whole = train_recipe(recipe, tmp_path / "whole").run
    forward, seen = Callee.forward, [0]

    def crashing(self: Any, *arguments: Any) -> Any:
        seen[0] += self.training
        if seen[0] == 2 * STEPS - 2:  # in the last step but one: the checkpoint is of step 4
            raise ZeroDivisionError
        return forward(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Callee, "forward", crashing)
        with pytest.raises(ZeroDivisionError):
            train_recipe(recipe, tmp_path / "resumed")
    broken = find_run(name, tmp_path / "resumed")
    assert [checkpoints.step_of(path) for path in checkpoints.steps(broken.checkpoints)] == [4]
    resumed = resume_run(broken).run
    last, expected = (checkpoints.steps(run.checkpoints)[-1] / checkpoints.TENSORS for run in (resumed, whole))
    assert last.parent.name == f"step-{STEPS:08d}" and last.read_bytes() == expected.read_bytes()
    assert resumed.manifest()["weights_sha256"] == whole.manifest()["weights_sha256"]
    ours, theirs = (
        [{k: v for k, v in r.items() if not k.endswith("/s")} for r in read_records(run.metrics)]
        for run in (resumed, whole)
    )
    assert ours == theirs
