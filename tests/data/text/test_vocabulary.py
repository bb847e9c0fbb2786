"""Tokenizers: decoding gives the text back, learning is deterministic, and transformers reads what is saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from app.data.text.corpus import Corpus
from app.data.text.packing import pack
from app.data.text.vocabulary import (
    END,
    Vocabulary,
    bpe_vocabulary,
    character_vocabulary,
    learn_vocabulary,
    load_vocabulary,
)
from app.errors import DataError, ModelError

TEXT = "The quick brown fox,\n\n  jumps over the lazy dog. Naïve? Yes - 100 %!\n" * 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def make_characters() -> Vocabulary:
    return character_vocabulary([TEXT])


def make_bpe() -> Vocabulary:
    return bpe_vocabulary([TEXT], 300)


@pytest.mark.parametrize("make", [make_characters, make_bpe])
def test_decoding_gives_the_text_back_before_and_after_saving(make: Callable[[], Vocabulary], tmp_path: Path) -> None:
    made = make()
    ids = made.encode([TEXT])[0]
    assert made.decode(ids.tolist()) == TEXT
    made.save(tmp_path)
    again = load_vocabulary(tmp_path)
    assert again.encode([TEXT])[0].tolist() == ids.tolist()
    assert (again.decode(ids.tolist()), again.end, again.digest) == (TEXT, made.end, made.digest)


@pytest.mark.parametrize("make", [make_characters, make_bpe])
def test_transformers_reads_what_is_saved(make: Callable[[], Vocabulary], tmp_path: Path) -> None:
    import transformers

    made = make()
    made.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = made.encode([TEXT])[0].tolist()
    assert theirs(TEXT)["input_ids"] == ids
    assert theirs.decode(ids) == TEXT
    assert theirs.eos_token_id == made.end


def test_characters_are_sorted_by_unicode() -> None:
    assert [character_vocabulary(["cab\n"]).decode([i]) for i in range(4)] == ["\n", "a", "b", "c"]
    assert character_vocabulary(["cab"]).end is None
    several = character_vocabulary(["ca", "b"], end=True)
    assert several.end == 3 and several.decode([0, 3, 1]) == "ab"


def test_unknown_characters_are_named() -> None:
    with pytest.raises(DataError, match="'X' 'é'"):
        character_vocabulary(["abc"]).encode(["abc", "aéX"])


@given(st.text(max_size=50))
@settings(deadline=None, max_examples=50)
def test_bpe_encodes_every_text(text: str) -> None:
    made = BPE
    assert made.decode(made.encode([text])[0].tolist()) == text.replace(END, "")


BPE = make_bpe()


def test_bpe_keeps_to_its_size_and_needs_every_byte() -> None:
    assert len(BPE) == 300 and BPE.end == 0
    with pytest.raises(ModelError, match="256 bytes"):
        bpe_vocabulary([TEXT], 256)


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_a_vocabulary_is_learned_once(kind: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = learn_vocabulary(kind, 300, [Corpus(file)])
    assert (first.end is None) == (kind == "characters")  # a file of one document needs no end token
    monkeypatch.setattr(Corpus, "documents", lambda self: pytest.fail("read again though cached"))
    assert learn_vocabulary(kind, 300, [Corpus(file)]).digest == first.digest


def test_the_problems_of_all_texts_are_reported_before_learning(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_bytes(b"good\n\xff\n")
    (tmp_path / "two.txt").write_bytes(b"\xfe\n")
    with pytest.raises(DataError) as caught:
        learn_vocabulary("characters", 0, [Corpus(tmp_path / "one.txt"), Corpus(tmp_path / "two.txt")])
    assert [Path(problem.where).name for problem in caught.value.problems] == ["one.txt:2", "two.txt:1"]


def test_the_end_token_is_that_of_the_folder(tmp_path: Path) -> None:
    made = bpe_vocabulary(["a b c " + END], 257)
    made.tokenizer.add_special_tokens(["</s>"])
    made.save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}}')
    assert load_vocabulary(tmp_path).end == 257
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    (tmp_path / "config.json").write_text('{"eos_token_id": [5, 6]}')
    assert load_vocabulary(tmp_path).end == 5
    (tmp_path / "config.json").write_text('{"eos_token_id": 50256}')  # beyond this tokenizer: an id of the weights
    assert load_vocabulary(tmp_path).end == 0


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_folder_without_a_tokenizer_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_vocabulary(tmp_path)


def test_a_loaded_tokenizer_is_saved_unchanged(tmp_path: Path) -> None:
    make_bpe().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    (tmp_path / "copy").mkdir()
    load_vocabulary(tmp_path).save(tmp_path / "copy")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_no_state_of_the_tokenizers_last_use_is_taken_over(tmp_path: Path) -> None:
    """Truncation, padding and dropout in tokenizer.json: the ids are those of the same tokenizer without them."""
    plain = make_bpe()
    expected = plain.tokenizer.encode(TEXT, add_special_tokens=False).ids
    plain.save(tmp_path)
    file = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    file.enable_truncation(8)
    file.enable_padding(length=5000, pad_token=END)
    file.save(str(tmp_path / "tokenizer.json"))
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["model"]["dropout"] = 0.9
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    loaded = load_vocabulary(tmp_path)
    assert loaded.encode([TEXT])[0].tolist() == expected
    assert loaded.digest == plain.digest


def test_a_truncating_tokenizer_leaves_as_many_windows(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    made = make_bpe()
    whole = pack(Corpus(text), made, 8)
    made.tokenizer.enable_truncation(8)
    made.save(tmp_path)
    assert len(pack(Corpus(text), load_vocabulary(tmp_path), 8)) == len(whole) > 50
