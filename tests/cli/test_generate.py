"""`app generate`: the same seed gives the same text, streamed, whole or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main
from app.config import load
from app.finetune.generation.generator import load_generator
from app.finetune.generation.sampling import Sampling
from app.finetune.train import train_recipe
from app.runs.folder import Run

TEXT = "Ärger über Öl: naïve Café-Gäste. Ωmega → 漢字!\n" * 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of gpt-char with a tokenizer of characters and one of bytes, both hardly trained."""
    folder = tmp_path_factory.mktemp("generate")
    (folder / "text.txt").write_text(TEXT)
    sizes = ["model.layers=1", "model.heads=1", "model.width=16", "model.context=12", "trainer.max_steps=3"]
    cpu = ["trainer.accelerator=cpu", "trainer.precision=fp32", "trainer.eval_every=null"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE_CACHE", str(folder / "cache"))
        for name, tokenizer in (("characters", "characters"), ("bytes", "bpe")):
            given = [f"name={name}", f"data.train={folder / 'text.txt'}", f"model.tokenizer={tokenizer}"]
            train_recipe(load("gpt-char", [*given, "model.vocab_size=260", *sizes, *cpu]), folder / "runs")
    return folder / "runs"


def run_of(runs: Path, name: str) -> Run:
    return Run(next((runs / name).iterdir()))


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["generate", *argv]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["characters", "bytes"])
def test_a_seed_gives_its_text_streamed_or_whole(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [name, "--runs", str(runs), "--prompt", "Öl", "--max-tokens", "60", "--top-k", "50"]
    streamed = printed(capsys, *given)
    assert streamed.startswith("Öl") and len(streamed) > 20
    assert printed(capsys, *given) == streamed
    whole = json.loads(printed(capsys, *given, "--json"))
    assert whole["prompt"] + whole["text"] + "\n" == streamed
    assert printed(capsys, *given, "--seed", "2") != streamed


def test_pieces_end_between_characters(runs: Path) -> None:
    """With a tokenizer of bytes a character is several tokens; it is shown with the last of them."""
    generator = load_generator(run_of(runs, "bytes"))
    text = generator.texts("漢", Sampling(max_tokens=80, seed=3))[0]
    pieces = [piece for (piece,) in generator.pieces("漢", Sampling(max_tokens=80, seed=3))]
    assert "".join(pieces) == text
    assert "\ufffd" in text and len(pieces) == 81  # hardly trained, so most bytes make no character


def test_several_samples_differ_and_the_first_words_are_the_prompt(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = printed(capsys, "characters", "--runs", str(runs), "--prompt", "naïve", "--samples", "3")
    samples = shown.rstrip("\n").split("\n---\n")
    assert len(set(samples)) == 3 and all(sample.startswith("naïve") for sample in samples)


def test_an_empty_prompt_begins_a_text(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("characters", "bytes"):
        assert printed(capsys, name, "--runs", str(runs), "--max-tokens", "5")


def test_mistakes_are_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, message in (
        (["characters", "--prompt", "~"], "alphabet does not have '~'"),
        (["characters", "--temperature", "-1", "--top-k", "0"], "--temperature is -1.0"),
        (["charakters"], "did you mean characters?"),
    ):
        assert main(["generate", *argv, "--runs", str(runs)]) == 2
        shown = capsys.readouterr()
        assert message in shown.err and not shown.out
