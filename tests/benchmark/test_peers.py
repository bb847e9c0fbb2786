"""The comparison with peers gives every side the same examples, and reports ratios, dropout and scores as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.benchmark import noise
from app.benchmark.noise import NoiseSample
from app.benchmark.steps.prepared import device_of
from app.benchmark.timer import Timing
from benchmarks import peers
from benchmarks.gpt2_step import VOCABULARY, byte_tokenizer
from benchmarks.summary import to_json
from tests.benchmark.sample_results import bare_numbers, result

TIMING = Timing(1.0, 1.0, 1.0, 9)


def test_the_first_examples_are_lines_or_sentences(tmp_path: Path) -> None:
    texts = tmp_path / "train.tsv"
    texts.write_text("one\t1\ntwo\t0\nthree\t1\n")
    assert peers.first_examples(texts, 2, tmp_path / "few.tsv").read_text() == "one\t1\ntwo\t0\n"
    tagged = tmp_path / "train.conll"
    tagged.write_text("\ufeffAda\tB-person\n\nruns\tO\n \nhome\tO\n", encoding="utf-8")
    few = peers.first_examples(tagged, 2, tmp_path / "few.conll").read_text(encoding="utf-8")
    assert few == "Ada\tB-person\n\nruns\tO\n"


def test_no_limit_is_the_file_itself(tmp_path: Path) -> None:
    assert peers.first_examples(tmp_path / "all.tsv", 0, tmp_path / "unused") == tmp_path / "all.tsv"
    assert not (tmp_path / "unused").exists()


def test_the_parameters_that_multiply_are_the_encoders() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=8, hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
    assert sum(p.numel() for p in BertModel(config).encoder.parameters()) == peers.MULTIPLYING


SPEEDS = {"trainer-default": 30.0, "ours": 100.0, "trainer-best": 75.0, "ours-again": 101.0}


ON = {"modules": 20, "p": [0.1], "losses": [0.7012, 0.6934], "active": True}
OFF = {"modules": 0, "p": [], "losses": [0.69, 0.69], "active": False}


@pytest.fixture
def raced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A race in which every side answers at once, with a known speed, score and dropout."""

    def race(scores: dict[str, float], without_dropout: tuple[str, ...] = ()) -> dict[str, Any]:
        turns = iter(peers.TURNS * 3)

        def run_json(arguments: list[str], folder: Path) -> Any:
            turn = next(turns)
            assert arguments[2] == turn.replace("-again", "")
            return {
                "seconds": 10 / SPEEDS[turn],
                "examples": 10,
                "tokens": 200,
                "steps": 1,
                "score": scores.get(turn, 0.8),
                "dropout": OFF if turn in without_dropout else ON,
            }

        monkeypatch.setattr(peers, "run_json", run_json)
        monkeypatch.setattr(peers, "matmul_rates", lambda device: {"fp32": 1e11, "bf16": 4e11})
        return peers.race("sentiment", 3, 0, None)  # type: ignore[arg-type]

    return race


def test_ratios_limits_and_noise_are_computed(raced: Any) -> None:
    result = raced({})
    assert result["ratios"]["trainer-default"].value == pytest.approx(100 / 30)
    assert result["ratios"]["trainer-best"].value == pytest.approx(100 / 75)
    assert result["self_against_self"].value == pytest.approx(100 / 101)
    assert result["limits"]["bf16"].value == pytest.approx(4e11 / (6 * peers.MULTIPLYING * 20))
    assert result["limits"]["bf16"].n == result["matmul"]["bf16"].n == 3
    assert result["equal_scores"] and json.dumps(to_json(result))
    page = peers.race_section("sentiment", result)
    assert page.count(": reached.") == 2 and "Equal scores on dev: passed" in page


def test_a_faster_side_with_a_worse_score_does_not_count(raced: Any) -> None:
    page = peers.race_section("sentiment", raced({"ours": 0.7}))
    assert "FAILED: the ratios do not count" in page


def test_both_sides_dropout_is_in_the_result_and_on_the_page(raced: Any) -> None:
    result = raced({})
    assert result["without_dropout"] == [] and result["dropout"]["ours"]["active"]
    assert result["dropout"]["trainer-best"]["modules"].value == 20
    page = peers.race_section("sentiment", result)
    assert page.count("on: 20 modules, p 0.1, losses 0.701200 and 0.693400") == len(peers.TURNS)
    assert "Dropout is on on all sides" in page


@pytest.mark.parametrize("side", ["ours", "trainer-best"])
def test_there_is_no_ratio_if_a_side_trains_without_dropout(raced: Any, side: str) -> None:
    result = raced({}, without_dropout=(side,))
    assert result["ratios"] == {} and result["without_dropout"] == [side]
    page = peers.race_section("sentiment", result)
    assert f"NO RATIO: {side} trained without dropout" in page and "times as fast" not in page
    assert "OFF: 0 modules, p none, losses 0.690000 and 0.690000" in page


def test_a_ratio_below_its_goal_is_reported_as_not_reached(raced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPEEDS, "trainer-best", 80.0)
    assert "at least 1.3 is wanted: NOT reached" in peers.race_section("sentiment", raced({}))


def test_the_byte_tokenizer_has_gpt2s_size_and_reads_any_text(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(byte_tokenizer(tmp_path / "made") / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == VOCABULARY
    ids = tokenizer.encode("naïve — 東京\n").ids
    assert len(ids) == len("naïve — 東京\n".encode()) and max(ids) < 256


def test_every_number_of_a_race_is_in_a_figure_or_raw(raced: Any) -> None:
    result = to_json(raced({}))
    assert result.pop("raw")
    assert list(bare_numbers(result)) == []


def test_a_task_that_fails_leaves_the_results_of_those_before(
    raced: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = raced({})

    def second_fails(task: str, *_: Any) -> tuple[dict[str, Any], str]:
        if task == "ner":
            raise SystemExit("benchmarks.sides failed")
        return done, peers.race_section(task, done)

    monkeypatch.setattr(peers, "DATA", tmp_path)
    monkeypatch.setattr(peers, "run_task", second_fails)
    monkeypatch.setattr(noise, "sample", lambda *_: NoiseSample(TIMING, TIMING, 0.0, 0.0))
    with pytest.raises(SystemExit, match="failed"):
        peers.main(["--tasks", "sentiment", "ner", "--out", str(tmp_path / "out")])
    (kept,) = (tmp_path / "out").glob("*.json")
    assert json.loads(kept.read_text())["sentiment"]["speeds"]["ours"]["unit"] == "sentences/s"
    assert "## sentiment" in kept.with_suffix(".md").read_text()


def test_the_loops_cost_is_measured_where_each_recipe_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("app.finetune.session.prepare", lambda recipe: recipe)
    seen = {}

    def overhead(session: Any, seconds: float) -> Any:
        seen[session.name] = device_of(session).type
        return result().kernels[0]

    monkeypatch.setattr("app.benchmark.steps.overhead.loop_overhead", overhead)
    overheads = peers.overheads(seconds=0.1)
    assert seen == {"hello-linear": "cpu", "gpt-char": "cuda", "sentiment": "cuda"}
    assert "hello-linear" in peers.overhead_section(overheads)
