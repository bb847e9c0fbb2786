"""A run folder from a stranger: nothing outside it is read, written or deleted, and every refusal says why."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.runs import checkpoints
from app.runs.boundary import MAX_RECORD_BYTES
from tests.hostile.conftest import Answer

Run = Callable[..., Answer]
OPENING = {
    "evaluate": ["evaluate", "RUN"],
    "predict": ["predict", "RUN"],
    "generate": ["generate", "RUN"],
    "export": ["export", "RUN", "OUT"],
    "reproduce": ["reproduce", "RUN"],
    "resume": ["train", "--resume", "RUN"],
}


@pytest.fixture
def copies(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished runs."""
    shutil.copytree(finished, tmp_path / "runs")
    return tmp_path / "runs"


def of(copies: Path, recipe: str) -> Path:
    return next((copies / recipe).iterdir())


def filled(words: list[str], folder: Path, tmp_path: Path) -> list[str]:
    return [{"RUN": str(folder), "OUT": str(tmp_path / "out")}.get(word, word) for word in words]


def victim(tmp_path: Path) -> Path:
    """A folder outside, with what a run's own folders hold and what it must not lose."""
    folder = tmp_path / "victim"
    for name in ("step-00000900", ".hidden", ".step-00000900.tmp", "best-00000900", "mine"):
        (folder / name).mkdir(parents=True)
        (folder / name / "dear.txt").write_text("dear")
    (folder / "dear.jsonl").write_text('{"step": 1}\n')
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


LINKS = {
    "checkpoints": "a folder",
    "model": "a folder",
    "metrics.jsonl": "a file",
    "run.json": "a file",
    "recipe.yaml": "a file",
    "report.md": "a file",
}


@pytest.mark.parametrize("verb", OPENING)
@pytest.mark.parametrize("place", LINKS)
def test_a_link_in_a_run_is_refused_and_what_it_points_to_is_untouched(
    verb: str, place: str, copies: Path, tmp_path: Path, run: Run
) -> None:
    outside, folder = victim(tmp_path), of(copies, "gpt-char" if verb == "generate" else "sentiment")
    target = outside if LINKS[place] == "a folder" else outside / "dear.jsonl"
    if LINKS[place] == "a file" and place in ("run.json", "recipe.yaml"):
        shutil.copy(folder / place, outside / place)  # what is pointed to is as good as what was there
        target = outside / place
    inside = folder / place
    shutil.rmtree(inside) if inside.is_dir() else inside.unlink(missing_ok=True)
    inside.symlink_to(target)
    before = snapshot(outside)
    answer = run(*filled(OPENING[verb], folder, tmp_path), "--runs", str(copies))
    assert "the run contains a link" in answer.err and place in answer.err
    assert snapshot(outside) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("depth", ["checkpoints/step-00000002", "model"])
def test_a_link_deep_inside_is_found(depth: str, copies: Path, tmp_path: Path, run: Run) -> None:
    folder = of(copies, "sentiment")
    (folder / depth).mkdir(exist_ok=True)
    (folder / depth / "extra").symlink_to("/etc/hostname")
    assert "extra" in run("evaluate", str(folder)).err


def test_a_fifo_in_a_run_does_not_hang(copies: Path, run: Run) -> None:
    folder = of(copies, "sentiment")
    os.mkfifo(folder / "model" / "pipe")
    assert "neither a file nor a folder" in run("evaluate", str(folder)).err


def test_only_what_the_project_made_is_removed_on_a_resume(copies: Path) -> None:
    """Names that do not fit ours entirely stay, however near they are."""
    folder = of(copies, "hello-linear") / "checkpoints"
    kept = [".hidden", ".git", "step-backup", "step-00000900x", "best-of-all", ".step-1.x", "notes"]
    gone = ["step-00000900", "best-00000900", ".step-00000900.abc", ".best-00000001.k2_x"]
    for name in [*kept, *gone]:
        (folder / name).mkdir()
    checkpoints.forget_after(folder, 2)
    left = {path.name for path in folder.iterdir()}
    assert left >= set(kept) and not left & set(gone)


RECORDS: dict[str, Any] = {
    "a list": [],
    "an empty object": {},
    "a number": 7,
    "null": None,
    "a text": "finished",
    "threads of a fool": {"finished": True, "hardware": {"threads": 100_000}},
    "threads as text": {"finished": True, "hardware": {"threads": "two"}},
    "no threads": {"finished": True, "hardware": {}},
    "hardware is a list": {"finished": True, "hardware": [1]},
}


@pytest.mark.parametrize("verb", ["reproduce", "resume"])
@pytest.mark.parametrize("record", RECORDS)
def test_a_record_that_is_not_one(verb: str, record: str, copies: Path, tmp_path: Path, run: Run) -> None:
    folder = of(copies, "hello-linear")
    value = RECORDS[record]
    if isinstance(value, dict) and value:
        value = {**json.loads((folder / "run.json").read_text()), **value, "finished": verb == "reproduce"}
    (folder / "run.json").write_text(json.dumps(value))
    run(*filled(OPENING[verb], folder, tmp_path), "--runs", str(copies))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": ', b"\xff\xfe", b"[" * 100_000, b"NaN", b" " * (MAX_RECORD_BYTES + 1)],
    ids=["empty", "open", "cut", "utf-16", "deep", "nan", "huge"],
)
@pytest.mark.parametrize("verb", ["evaluate", "reproduce", "resume", "runs"])
def test_a_record_of_other_bytes(verb: str, content: bytes, copies: Path, tmp_path: Path, run: Run) -> None:
    folder = of(copies, "hello-linear")
    (folder / "run.json").write_bytes(content)
    if verb == "runs":  # one bad record hides no other run
        answer = run("runs", "--runs", str(copies), refused=False)
        assert answer.code == 0 and "sentiment" in answer.out and "unreadable" in answer.out
    elif verb == "evaluate":  # which needs no record
        assert run("evaluate", str(folder), refused=False).code in (0, 2)
    else:
        run(*filled(OPENING[verb], folder, tmp_path), "--runs", str(copies))


WEIGHTS = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "text": lambda path: path.write_text("weights"),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94."),
    "a huge header": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
}


@pytest.mark.parametrize("recipe", ["hello-linear", "sentiment", "gpt-char"])
@pytest.mark.parametrize("damage", WEIGHTS)
def test_weights_that_are_none(recipe: str, damage: str, copies: Path, run: Run) -> None:
    folder = of(copies, recipe)
    WEIGHTS[damage](folder / "model" / "model.safetensors")
    run(*(["evaluate", str(folder)] if recipe != "gpt-char" else ["generate", str(folder)]))


CONFIGS = ["", "{", "[]", "null", "7", '{"model_type": 7}', '{"model_type": "no-such-model"}', '{"num_labels": "two"}']


@pytest.mark.parametrize("recipe", ["sentiment", "gpt-char"])
@pytest.mark.parametrize("config", CONFIGS)
def test_a_models_configuration_that_is_none(recipe: str, config: str, copies: Path, run: Run) -> None:
    folder = of(copies, recipe)
    (folder / "model" / "config.json").write_text(config)
    run(*(["evaluate", str(folder)] if recipe == "sentiment" else ["generate", str(folder)]))


@pytest.mark.parametrize("recipe", ["sentiment", "gpt-char"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {"type": "Nothing"}}'])
def test_a_tokenizer_that_is_none(recipe: str, content: str, copies: Path, run: Run) -> None:
    folder = of(copies, recipe)
    (folder / "model" / "tokenizer.json").write_text(content)
    run(*(["predict", str(folder)] if recipe == "sentiment" else ["generate", str(folder)]), stdin="a film\n")


CODE = "import pathlib\npathlib.Path({!r}).write_text('ran')\n"


@pytest.mark.parametrize("where", ["config.json", "tokenizer_config.json"])
def test_code_in_a_model_folder_never_runs_and_nobody_is_asked(
    where: str, copies: Path, tmp_path: Path, run: Run
) -> None:
    folder, proof = of(copies, "sentiment"), tmp_path / "proof"
    (folder / "model" / "evil.py").write_text(CODE.format(str(proof)) + "class Evil: pass\n")
    path = folder / "model" / where
    config = json.loads(path.read_text()) if path.is_file() else {}
    names = ("AutoConfig", "AutoModelForSequenceClassification", "AutoTokenizer")
    auto = {name: "evil.Evil" if name != "AutoTokenizer" else ["evil.Evil", "evil.Evil"] for name in names}
    path.write_text(json.dumps({**config, "auto_map": auto, "model_type": "evil", "tokenizer_class": "Evil"}))
    answer = run("predict", str(folder), stdin="y\na film\n")
    assert not proof.exists() and "[y/N]" not in answer.out + answer.err
