"""One number for each text: the recipe of a classifier with another task, from the command line to its answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app import cli
from app.config import load
from app.data.files import Columns
from app.data.text.encode import class_names
from app.finetune.tasks import build_task
from app.finetune.tasks.text_regression import correlations, errors
from app.runs.folder import Run, find_run
from tests.finetune.small_bert import ROWS, small_bert

POINTS = {"good": 70.5, "great": 90.0, "bad": 30.0, "dull": 40.25}


def points(text: str) -> float:
    """More for better words, and more again for very: far from 0, so that a head without the labels' scale fails."""
    number = POINTS[text.split()[-1]]
    return number + (number - 60) / 3 if "very" in text else number


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("points")
    parts = {"train": ROWS, "dev": ROWS[::3], "test": ROWS[1::3]}
    for split, rows in parts.items():
        lines = "".join(f"{text}\t{points(text)}\n" for text, _ in rows)
        (folder / f"{split}.tsv").write_text(lines, encoding="utf-8")
    return [
        "task=text-regression",
        f"model.name={small_bert(folder / 'bert')}",
        *(f"data.{split}={folder}/{split}.tsv" for split in parts),
        "trainer.max_epochs=20",
        "trainer.eval_every=40",
        "trainer.batch_size=8",
        "trainer.precision=fp32",
        "optimizer.lr=5e-3",
    ]


@pytest.fixture(scope="module")
def run(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    assert cli.main(["train", "sentiment", *settings, "--runs", str(runs)]) == 0
    return find_run("sentiment", runs)


def test_it_learns_numbers_far_from_zero(run: Run) -> None:
    scores = run.manifest()["scores"]["test"]
    assert scores["mae"] <= scores["rmse"] < 10  # always the mean: 28
    assert scores["pearson"] > 0.9 and scores["spearman"] > 0.5
    report = run.report.read_text(encoding="utf-8")
    assert "always the mean" in report and "Spearman" in report


def test_what_was_saved_answers_in_the_units_of_the_labels(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    text = run.path / "one.txt"
    text.write_text("the film was very dull\n", encoding="utf-8")
    assert cli.main(["predict", str(run.path), str(text)]) == 0
    number = json.loads(capsys.readouterr().out)["number"]
    assert number == pytest.approx(points("very dull"), abs=12)
    model = AutoModelForSequenceClassification.from_pretrained(run.model)
    inputs = AutoTokenizer.from_pretrained(run.model)("the film was very dull", return_tensors="pt")
    assert model(**inputs).logits.item() == pytest.approx(number, abs=1e-3)
    assert model.config.problem_type == "regression"


def test_evaluating_the_saved_model_gives_the_scores_of_the_training(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(run.manifest()["scores"]["test"], rel=1e-4)


def test_the_loss_is_that_of_labels_with_deviation_one(settings: list[str]) -> None:
    task = build_task(load("sentiment", settings))
    train = task.data("train")
    assert train is not None
    task.model(train)
    batch = train[np.arange(len(train))]
    silent = task.loss(lambda **_: SimpleNamespace(logits=torch.zeros(len(train), 1)), batch)
    assert float(silent) / task.weight(batch) == pytest.approx(1.0, rel=1e-4)  # a 0 stands for the mean of the labels


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("good\t1.5\nbad\thigh\ndull\tnan\n", "train.tsv:2: label 'high' is not a number"),
        ("good\t1.5\nbad\thigh\ndull\tnan\n", "train.tsv:3: label 'nan' is not a number"),
        ("good\t3\nbad\t3.0\n", "every row has the label 3"),
    ],
)
def test_labels_that_are_no_numbers_are_named(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, complaint: str
) -> None:
    (tmp_path / "train.tsv").write_text(rows, encoding="utf-8")
    runs = tmp_path / "runs"
    assert cli.main(["train", "sentiment", *settings, f"data.train={tmp_path}/train.tsv", "--runs", str(runs)]) == 2
    assert complaint in capsys.readouterr().err
    assert not runs.exists()


def test_a_classifier_that_is_given_numbers_names_this_task(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "sentiment", *settings[1:], "--runs", str(tmp_path)]) == 2
    assert "fix: say task=text-regression" in capsys.readouterr().err


def test_whole_numbers_may_be_classes(tmp_path: Path) -> None:
    (tmp_path / "stars.tsv").write_text("fine\t10\nbad\t2\nso\t1.0\n", encoding="utf-8")
    assert class_names(str(tmp_path / "stars.tsv"), Columns()) == ["1", "2", "10"]


def test_the_saved_head_carries_the_scale(run: Run) -> None:
    weights = load_file(run.model / "model.safetensors")
    assert 40 < float(weights["classifier.bias"]) < 80


def test_errors_and_correlations_by_hand() -> None:
    truth, answers = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 8.0])
    assert errors(truth, answers) == {"mae": pytest.approx(6 / 4), "rmse": pytest.approx((18 / 4) ** 0.5)}
    found = correlations(truth, answers)
    assert found["pearson"] == pytest.approx(9 / (5 * 27) ** 0.5)
    assert found["spearman"] == pytest.approx(3 / (5 * 3) ** 0.5)  # ranks 2, 2, 2, 4
    assert correlations(truth, np.ones(4)) == {"pearson": 0.0, "spearman": 0.0}


@pytest.mark.parametrize("answers", [[0.1, 0.1, 0.1], [1.0, 1.0 + 1e-15, 1.0], [1.0, float("nan"), 2.0]])
def test_correlations_of_degenerate_answers_print_no_warning(
    answers: list[float], capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    found = correlations(np.array([1.0, 2.0, 3.0]), np.array(answers))
    assert all(-1 <= value <= 1 for value in found.values())
    assert not recwarn.list and capsys.readouterr().err == ""


def test_the_correlations_of_one_example_are_zero() -> None:
    assert correlations(np.array([3.0]), np.array([2.0])) == {"pearson": 0.0, "spearman": 0.0}
