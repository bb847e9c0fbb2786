"""The recipe ner, from the command line to entities: training, both reports, and tags for sentences of any length."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from app import cli
from app.config import load
from app.data.tags.encode import EncodedTags
from app.data.tags.read import read_tagged
from app.finetune.tasks import build_task
from app.finetune.tasks.base import Prediction
from app.finetune.tasks.token_classification import TokenClassificationTask
from app.runs.folder import Run, find_run
from tests.finetune.small_bert import small_bert

SENTENCES = [
    f"{article}/O {noun}/B-WORK was/O {opinion}"
    for article in ("a", "the")
    for noun in ("film", "story")
    for opinion in ("very/B-VIEW good/I-VIEW", "dull/B-VIEW", "not/O great/B-VIEW", "not/O very/B-VIEW bad/I-VIEW")
]


def columns(sentences: list[str]) -> str:
    return "\n\n".join(sentence.replace("/", "\t").replace(" ", "\n") for sentence in sentences) + "\n"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that make the recipe train in seconds; dev has a sentence of sixty words that is read in windows."""
    folder = tmp_path_factory.mktemp("tagged")
    parts = {"train": SENTENCES, "dev": [*SENTENCES[::3], " ".join(SENTENCES[:13])], "test": SENTENCES[1::3]}
    for split, sentences in parts.items():
        (folder / f"{split}.conll").write_text(columns(sentences), encoding="utf-8")
    return [
        f"model.name={small_bert(folder / 'bert')}",
        *(f"data.{split}={folder}/{split}.conll" for split in parts),
        "data.max_length=16",
        "trainer.max_epochs=14",
        "trainer.eval_every=28",
        "trainer.precision=fp32",
        "trainer.batch_size=4",
        "optimizer.lr=5e-3",
    ]


@pytest.fixture(scope="module")
def run(settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    assert cli.main(["train", "ner", *settings, "--runs", str(runs)]) == 0
    return find_run("ner", runs)


def predict(run: Run, name: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert cli.main(["predict", str(run.path), name]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_it_learns_and_reports_entities_and_tokens(run: Run) -> None:
    scores = run.manifest()["scores"]
    assert scores["test"]["entity_f1"] == scores["test"]["token_accuracy"] == 1.0 and scores["dev"]["entity_f1"] > 0.9
    report = run.report.read_text(encoding="utf-8")
    assert "**Entities**, strict" in report and "| VIEW | 1.000 | 1.000 | 1.000 |" in report
    assert "**Tokens**, each tag separately" in report and "| I-VIEW | 1.000 | 1.000 | 1.000 |" in report


def test_predict_gives_tokens_tags_and_entities(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some.txt").write_text("the film was very good\n\nnot a film\n", encoding="utf-8")
    first, empty, second = predict(run, str(tmp_path / "some.txt"), capsys)
    assert empty == {"line": 2, "tokens": [], "tags": [], "entities": []}
    assert (first["line"], second["line"]) == (1, 3)
    assert first["tokens"] == ["the", "film", "was", "very", "good"]
    assert first["tags"] == ["O", "B-WORK", "O", "B-VIEW", "I-VIEW"]
    assert first["entities"] == [
        {"type": "WORK", "text": "film", "start": 1, "stop": 2},
        {"type": "VIEW", "text": "very good", "start": 3, "stop": 5},
    ]
    assert second["tokens"] == ["not", "a", "film"]


def test_a_sentence_of_many_windows_comes_back_whole(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.conll").write_text(columns([" ".join(SENTENCES * 3)]), encoding="utf-8")
    [truth] = read_tagged(str(tmp_path / "long.conll"))
    (tmp_path / "long.jsonl").write_text(json.dumps({"tokens": truth.tokens}) + "\n", encoding="utf-8")
    [line] = predict(run, str(tmp_path / "long.jsonl"), capsys)
    assert line["tokens"] == truth.tokens
    tags = line["tags"]
    assert isinstance(tags, list)
    assert sum(answer == true for answer, true in zip(tags, truth.tags)) >= 0.9 * len(truth.tags) == 0.9 * len(tags)


def test_transformers_pipeline_gives_the_tags_of_predict(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    texts = ["a film was very good", "the story was not great", "the film was dull"]
    (tmp_path / "some.txt").write_text("\n".join(texts) + "\n")
    lines = predict(run, str(tmp_path / "some.txt"), capsys)
    theirs = pipeline("token-classification", str(run.model), device="cpu", ignore_labels=[])
    assert [line["tags"] for line in lines] == [[token["entity"] for token in found] for found in theirs(texts)]


def test_words_come_from_stdin(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a story was dull\n")))
    assert cli.main(["predict", str(run.path)]) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == ["O", "B-WORK", "O", "B-VIEW"]


def test_transformers_loads_the_model_with_its_tags(run: Run) -> None:
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(run.model)
    inputs = AutoTokenizer.from_pretrained(run.model)("a story was dull", return_tensors="pt")
    answers = [model.config.id2label[i] for i in model(**inputs).logits[0].argmax(1).tolist()]
    assert answers[1:-1] == ["O", "B-WORK", "O", "B-VIEW"]


def test_a_tagger_that_predicts_o_too_often_is_calibrated(settings: list[str]) -> None:
    task = build_task(load("ner", settings))
    assert isinstance(task, TokenClassificationTask)
    dev = task.data("dev")
    assert dev is not None and task.names == ["O", "B-VIEW", "I-VIEW", "B-WORK", "I-WORK"]
    model = task.model(dev)
    bias = model.get_parameter("classifier.bias")
    before = bias.detach().clone()
    predictions = []
    for window in range(len(dev)):
        scores = np.full((len(dev.truth(window)), 5), -9.0, dtype=np.float32)
        for row, name in zip(scores, dev.truth(window)):
            row[0], row[name] = (-0.1, -0.1) if name == 0 else (-0.3, -1.4)  # O leads by 1.1 if it is wrong
        predictions.append(Prediction(window, 1.0, len(scores), scores))
    assert task.calibrate(model, predictions, dev)
    assert task.lead == 1.25  # the least of the quarters that is enough
    assert (before - bias).tolist() == [1.25, 0.0, 0.0, 0.0, 0.0]
    assert "O is the answer only if it leads by 1.25" in task.score(predictions, dev).tables


def test_a_tagger_that_is_right_is_left_alone(settings: list[str]) -> None:
    task = build_task(load("ner", settings))
    dev = task.data("dev")
    assert isinstance(dev, EncodedTags)
    model = task.model(dev)
    right = [
        Prediction(window, 0.0, len(dev.truth(window)), np.log(np.eye(5, dtype=np.float32)[dev.truth(window)] + 1e-6))
        for window in range(len(dev))
    ]
    assert not task.calibrate(model, right, dev)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("a\tB-WORK\nb\tO\nc\tI-VIEW\n", "dev.conll:3: I-VIEW follows O"),
        ("a\tB-PLACE\n", "dev.conll:1: type 'PLACE' is not one of the training file's: VIEW, WORK"),
        ("a\n", "dev.conll:1: 1 column"),
        ("", "the file has no sentences"),
    ],
)
def test_bad_data_is_an_error_before_anything_is_written(
    settings: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str, complaint: str
) -> None:
    (tmp_path / "dev.conll").write_text(broken, encoding="utf-8")
    runs = tmp_path / "runs"
    assert cli.main(["train", "ner", *settings, f"data.dev={tmp_path}/dev.conll", "--runs", str(runs)]) == 2
    assert complaint in capsys.readouterr().err
    assert not runs.exists()
