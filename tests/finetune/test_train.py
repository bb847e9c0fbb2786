"""`app train`, `evaluate` and `predict`, from the command line to the files they leave."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from app import cli
from app.errors import RunError
from app.finetune.tasks.base import Scores
from app.finetune.tasks.text_classification import TextClassificationTask
from app.finetune.train import Finished
from app.runs.folder import Run, find_run
from app.runs.records import read_records


def run_of(runs: Path) -> Run:
    return find_run("sentiment", runs)


def test_a_run_leaves_all_that_it_should(trained: Path) -> None:
    run = run_of(trained)
    names = {path.name for path in run.path.iterdir()}
    assert {"run.json", "recipe.yaml", "metrics.jsonl", "checkpoints", "model", "report.md"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not [name for name in names if name.startswith(".") or name == "hparams.yaml"]
    manifest = run.manifest()
    assert manifest["finished"] and manifest["scores"]["test"]["accuracy"] == 1.0
    assert manifest["recipe_sha256"] and set(manifest["data_sha256"]) == {"train", "dev", "test"}
    assert manifest["versions"]["torch"] == torch.__version__
    report = run.report.read_text(encoding="utf-8")
    assert "| positive | 1.000 | 1.000 | 1.000 |" in report and "true \\ answered" in report


def test_the_saved_tokenizer_neither_truncates_nor_pads(trained: Path) -> None:
    saved = json.loads((run_of(trained).model / "tokenizer.json").read_text())
    assert saved["truncation"] is None and saved["padding"] is None


def test_records_tell_loss_rate_speed_and_dev_scores(trained: Path) -> None:
    records = read_records(run_of(trained).metrics)
    training = [record for record in records if "train/loss" in record]
    evaluations = [record for record in records if "dev/accuracy" in record]
    assert training[-1]["train/loss"] < training[0]["train/loss"]
    assert all(record["padded_tokens/s"] >= record["tokens/s"] > 0 and record["lr"] >= 0 for record in training)
    assert [record["epoch"] for record in evaluations] == list(range(1, 13))


def test_transformers_loads_the_model_and_says_the_same(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = run_of(trained)
    assert not list(run.path.rglob("*.bin")) and not list(run.path.rglob("*.pt"))
    model = AutoModelForSequenceClassification.from_pretrained(run.model)
    inputs = AutoTokenizer.from_pretrained(run.model)(["the film was very dull"], return_tensors="pt")
    expected = model(**inputs).logits.softmax(1)[0].tolist()
    text = run.path / "one.txt"
    text.write_text("the film was very dull\n", encoding="utf-8")
    assert cli.main(["predict", str(run.path), str(text)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["label"] == "negative" and model.config.label2id == {"negative": 0, "positive": 1}
    assert list(line["probabilities"].values()) == pytest.approx(expected, abs=1e-5)


def test_transformers_pipeline_answers_like_predict(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone and in a batch, with special characters, and with a text that is cut."""
    from transformers import pipeline

    texts = ["a film was dull", "the story [SEP] was very good", "not great", "very " * 200 + "good"]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    assert cli.main(["predict", "sentiment", str(tmp_path / "texts.txt"), "--runs", str(trained)]) == 0
    ours = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    theirs = pipeline("text-classification", str(run_of(trained).model), device="cpu")
    for size in (1, 4):
        for found, line in zip(theirs(texts, truncation=True, batch_size=size, top_k=None), ours):
            scores = {each["label"]: each["score"] for each in found}
            assert scores == pytest.approx(line["probabilities"], abs=1e-5)
            assert max(scores, key=lambda label: scores[label]) == line["label"]


def test_predict_reads_stdin_in_order(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = b"the story was very good\na film was dull\nthe film was very very great\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
    assert cli.main(["predict", "sentiment", "--runs", str(trained)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == ["positive", "negative", "positive"]


def test_predict_answers_every_line_by_its_number(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["", "the story was very good", "   ", "a film was dull", ""]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    assert cli.main(["predict", "--runs", str(trained), "sentiment", str(tmp_path / "texts.txt")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["label"] for line in lines] == [None, "positive", None, "negative", None]
    assert [line["probabilities"] is None for line in lines] == [not text.strip() for text in texts]
    assert cli.main(["predict", "sentiment", "--runs", str(trained), str(tmp_path / "texts.txt")]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == lines
    (tmp_path / "texts.csv").write_text('id,text\n7,"a film\nwas dull"\n8,the story was good\n')
    assert cli.main(["predict", "sentiment", str(tmp_path / "texts.csv"), "--runs", str(trained)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["line"], line["label"]) for line in lines] == [(2, "negative"), (4, "positive")]


def test_a_model_that_is_saved_otherwise_than_it_was_trained_is_an_error(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(self: TextClassificationTask, model: Any) -> None:
        model.classifier.weight.data.mul_(-3)

    monkeypatch.setattr(TextClassificationTask, "finish", spoil)
    assert cli.main(["train", "sentiment", *small, "trainer.max_epochs=3", "--runs", str(tmp_path)]) == 2
    assert "the model as it was saved does not answer like the trained one" in capsys.readouterr().err
    run = run_of(tmp_path)
    assert not run.model.exists() and not run.manifest().get("finished") and any(run.checkpoints.iterdir())


def test_evaluate_gives_the_scores_of_the_training(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "sentiment", "--runs", str(trained), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == pytest.approx(run_of(trained).manifest()["scores"]["test"])


def test_the_same_recipe_gives_the_same_bits(trained: Path, small: list[str], tmp_path: Path) -> None:
    assert cli.main(["train", "sentiment", *small, "--runs", str(tmp_path)]) == 0
    first, second = (load_file(run_of(runs).model / "model.safetensors") for runs in (trained, tmp_path))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_best_checkpoint_is_what_is_saved(trained: Path) -> None:
    run = run_of(trained)
    dev = [record["dev/accuracy"] for record in read_records(run.metrics) if "dev/accuracy" in record]
    assert run.manifest()["scores"]["dev"]["accuracy"] == max(dev)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.train={tmp}/trian.tsv", "no such file"),
        ("data.dev={tmp}/three.tsv", "three.tsv:1: 3 columns instead of 2"),
        ("data.test={tmp}/empty.tsv", "the file has no rows"),
        ("data.dev={tmp}/label.tsv", "label.tsv:2: label 'fine' is not one of negative, positive"),
        ("data.train={tmp}/single.tsv", "every row has the label 'positive'"),
        ("model.name={tmp}/no-weights", "the folder has no weights"),
        ("model.name={tmp}/pickle", "the weights are a pickle (pytorch_model.bin)"),
        ("model.name={tmp}/pickle/pytorch_model.bin", "is a pickle"),
        ("model.name={tmp}/nowhere", "no such model folder"),
        ("trainer.accelerator=gpu", "torch sees no GPU"),
        ("trainer.precision=fp16", "fp16 on GPUs only"),
    ],
)
def test_bad_input_gets_one_clear_error_and_leaves_nothing(
    override: str, expected: str, small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "accelerator" in override and torch.cuda.is_available():
        pytest.skip("this machine has the GPU that the test is without")
    (tmp_path / "three.tsv").write_text("a\tb\tpositive\n")
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "label.tsv").write_text("a film\tpositive\na film\tfine\n")
    (tmp_path / "single.tsv").write_text("a film\tpositive\nthe film\tpositive\n")
    bert = Path(small[0].partition("=")[2])
    for name in ("no-weights", "pickle"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name / file).write_bytes((bert / file).read_bytes())
    (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert (
        cli.main(["train", "sentiment", *small, override.format(tmp=tmp_path), "--runs", str(tmp_path / "runs")]) == 2
    )
    message = capsys.readouterr().err
    assert expected in message and message.count("error:") == message.count("fix:") == 1
    assert not (tmp_path / "runs").exists()


def test_hello_logistic_reaches_bayes_boundary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "hello-logistic", "--runs", str(tmp_path)]) == 0
    assert "the boundary is Bayes'" in capsys.readouterr().out
    check = find_run("hello-logistic", tmp_path).manifest()["scores"]["check"]
    assert check["error_rate"] - check["bayes_error_rate"] < 0.005


def test_hello_linear_reaches_the_closed_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "hello-linear", "--runs", str(tmp_path)]) == 0
    assert "they agree" in capsys.readouterr().out
    assert find_run("hello-linear", tmp_path).manifest()["scores"]["check"]["closed_form_gap"] < 1e-5


def test_a_training_that_diverges_ends_with_what_to_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "hello-linear", "optimizer.lr=1e30", "trainer.log_every=1", "--runs", str(tmp_path)]
    assert cli.main(argv) == 2
    said = capsys.readouterr().err
    assert "the loss is nan at step" in said and "lower optimizer.lr, which is 1e+30" in said
    assert cli.main(["runs", "--runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "stopped"


def test_the_step_of_the_kept_weights_is_said(tmp_path: Path) -> None:
    """A later step may have a lower loss: the weights are those of the best evaluation."""
    seconds, scores = 1.0, {"dev": Scores({"accuracy": 1.0})}
    earlier = Finished(Run(tmp_path), scores, {}, seconds, (8, 8), kept=(9, 27)).text()
    assert "weights: those of step 9 of 27, the best on dev" in earlier
    assert "weights:" not in Finished(Run(tmp_path), scores, {}, seconds, (8, 8), kept=(27, 27)).text()


def test_a_recipe_that_does_not_ship_is_trained_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("topics.yaml").touch()
    with pytest.raises(RunError, match=r"`app train \./topics\.yaml` makes one"):
        find_run("topics", tmp_path / "runs")
    with pytest.raises(RunError, match="`app train other` makes one"):
        find_run("other", tmp_path / "runs")


def test_a_run_that_is_not_there_is_named(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "sentimnt", "--runs", str(trained)]) == 2
    assert "did you mean sentiment?" in capsys.readouterr().err
    assert cli.main(["evaluate", "x", "--runs", str(tmp_path)]) == 2


@pytest.mark.slow
@pytest.mark.shared
def test_sst2_reaches_its_accuracy(shared: Path, tmp_path: Path) -> None:
    """The main job on real input: three epochs over 6,920 sentences, minutes on two cores."""
    data = [f"data.{split}={shared}/sst2/{split}.tsv" for split in ("train", "dev", "test")]
    assert cli.main(["train", "sentiment", *data, "--runs", str(tmp_path)]) == 0
    assert find_run("sentiment", tmp_path).manifest()["scores"]["test"]["accuracy"] >= 0.87
