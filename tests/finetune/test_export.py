"""A run's model in a folder of its own says what the run's model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app import cli
from app.runs.folder import Run, find_run

SENTENCES = ["the film was very good", "a story was dull"]


def logits(folder: Path) -> torch.Tensor:
    """What transformers itself makes of the folder."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, torch_dtype="auto").eval()
    tokens: Any = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = model(**tokens).logits
    return found


@pytest.fixture(scope="module")
def run(trained: Path) -> Run:
    return find_run("sentiment", trained)


def test_a_finished_run(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(run.path), str(tmp_path / "to" / "model"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == run.manifest()["weights_sha256"]
    assert told["step"] is None
    assert torch.equal(logits(tmp_path / "to" / "model"), logits(run.model))


def test_half_the_bytes_in_bf16(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert cli.main(["export", str(run.path), str(tmp_path / "empty"), "--dtype", "bf16"]) == 0
    said = logits(tmp_path / "empty")
    assert said.dtype == torch.bfloat16
    assert torch.allclose(said.float(), logits(run.model), atol=0.05)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "empty", run.model)]
    assert 0.45 < sizes[0] / sizes[1] < 0.6


@pytest.mark.parametrize("extra", [[], ["model.lora.rank=2"]])
def test_a_stopped_run_gives_its_best_weights(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]
) -> None:
    assert cli.main(["train", "sentiment", *small, *extra, "--runs", str(tmp_path)]) == 0
    whole = find_run("sentiment", tmp_path)
    expected = logits(whole.model)
    whole.model.rename(tmp_path / "taken away")  # as where it had been stopped just before the end
    capsys.readouterr()
    assert cli.main(["export", str(whole.path), str(tmp_path / "out")]) == 0
    assert "the best on dev so far" in capsys.readouterr().out
    assert torch.allclose(logits(tmp_path / "out"), expected, atol=1e-6)


def test_what_is_there_is_left_alone(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("dear")
    for target, what in ((tmp_path, "the folder is not empty"), (tmp_path / "mine", "a file has this name")):
        assert cli.main(["export", str(run.path), str(target)]) == 2
        assert what in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "dear"


def test_a_run_without_weights(
    small: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "begun")
    run.path.mkdir()
    for name in ("run.json", "recipe.yaml"):
        (run.path / name).write_text((find_run("sentiment", trained).path / name).read_text())
    assert cli.main(["export", str(run.path), str(tmp_path / "out")]) == 2
    assert f"app train --resume {run.path}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
