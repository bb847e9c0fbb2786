"""One GPU, sharded over itself: what FSDP trains, saves and continues is what one device trains."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from app.config import load  # noqa: E402
from app.finetune.tasks.gpt import GPTTask  # noqa: E402
from app.finetune.train import resume_run, train_recipe  # noqa: E402
from app.runs.folder import find_run  # noqa: E402

SETTINGS = ["trainer.max_steps=12", "trainer.eval_every=4", "trainer.precision=fp32", "trainer.log_every=1"]


def test_a_sharded_training_is_that_of_one_device_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train_recipe(load("gpt-char", SETTINGS), tmp_path / "plain").run
    sharded = load("gpt-char", [*SETTINGS, "trainer.strategy=fsdp"])
    whole = train_recipe(sharded, tmp_path / "whole").run
    assert whole.manifest()["scores"]["dev"]["loss"] == pytest.approx(
        plain.manifest()["scores"]["dev"]["loss"], rel=1e-3
    )
    loss, seen = GPTTask.loss, [0]

    def crashing(self: GPTTask, *arguments: object) -> object:
        seen[0] += 1
        if seen[0] == 7:
            raise ZeroDivisionError
        return loss(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(GPTTask, "loss", crashing)
        with pytest.raises(ZeroDivisionError):
            train_recipe(sharded, tmp_path / "resumed")
    resumed = resume_run(find_run("gpt-char", tmp_path / "resumed")).run
    assert resumed.manifest()["weights_sha256"] == whole.manifest()["weights_sha256"]
