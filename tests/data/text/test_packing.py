"""Streams of tokens and windows over them: every token is a target once, and a text is encoded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data.batch import IGNORE_INDEX
from app.data.text import corpus as corpus_module
from app.data.text.corpus import Corpus
from app.data.text.packing import Windows, encode_stream, pack
from app.data.text.vocabulary import bpe_vocabulary, character_vocabulary
from app.errors import DataError

TEXT = "To be, or not to be:\nthat is the question.\n\n  Whether 'tis nobler  \n in the mind\nto suffer.\n" * 30


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def counted(windows: Windows) -> list[tuple[int, int]]:
    """Return (position in the stream, target) of each target that the loss counts."""
    batch = windows[np.arange(len(windows))]
    assert batch.labels is not None
    positions = windows.starts[:, None] + 1 + np.arange(windows.length)
    kept = batch.labels.ne(IGNORE_INDEX).numpy()
    assert batch.useful == kept.sum() and batch.padded == kept.size
    return sorted(zip(positions[kept].tolist(), batch.labels.numpy()[kept].tolist()))


@given(st.integers(2, 200), st.integers(1, 50))
def test_every_token_but_the_first_is_a_target_once(tokens: int, length: int) -> None:
    stream = np.arange(1000, 1000 + tokens)
    windows = Windows(stream, min(length, tokens - 1), min(length, tokens - 1), "")
    assert counted(windows) == [(i, 1000 + i) for i in range(1, tokens)]


@given(st.integers(2, 60), st.integers(1, 30), st.integers(1, 30))
def test_inputs_are_the_tokens_before_their_targets(tokens: int, length: int, stride: int) -> None:
    windows = Windows(np.arange(tokens), min(length, tokens - 1), stride, "")
    batch = windows[np.arange(len(windows))]
    assert batch.labels is not None
    kept = batch.labels != IGNORE_INDEX
    assert (batch.inputs["ids"][kept] + 1 == batch.labels[kept]).all()


def test_stride_one_gives_every_window() -> None:
    windows = Windows(np.arange(100), length=10, stride=1, digest="")
    assert windows.starts.tolist() == list(range(90))
    assert windows.repeated == 0


def test_documents_are_joined_by_the_end_token() -> None:
    vocabulary = bpe_vocabulary(["ab"], 257)
    a, b = (vocabulary.tokenizer.token_to_id(c) for c in "ab")
    assert encode_stream(["ab", "b"], vocabulary).tolist() == [a, b, vocabulary.end, b]
    assert encode_stream(["ab"], character_vocabulary(["ab"])).tolist() == [0, 1]


def test_encoding_in_pieces_gives_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = bpe_vocabulary([TEXT], 400)
    whole = vocabulary.encode([TEXT])[0]
    monkeypatch.setattr(corpus_module, "PIECE", 50)
    assert encode_stream([TEXT], vocabulary).tolist() == whole.tolist()


def test_a_small_vocabulary_takes_two_bytes_a_token() -> None:
    assert encode_stream(["ab"], character_vocabulary(["ab"])).dtype == np.uint16


def test_a_text_is_encoded_once_and_memory_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    vocabulary = character_vocabulary([TEXT])
    first = pack(Corpus(path), vocabulary, length=64)
    assert isinstance(first.stream, np.memmap)
    monkeypatch.setattr(Corpus, "documents", lambda self: pytest.fail("read again though cached"))
    again = pack(Corpus(path), vocabulary, length=32, stride=8)
    assert again.stream.tolist() == first.stream.tolist()
    assert (again.length, again.stride, again.digest) == (32, 8, first.digest)


def test_an_interrupted_encoding_leaves_no_files(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    vocabulary = character_vocabulary([TEXT])
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(Corpus(path), vocabulary, length=64)
    assert not list((cache / "packed").iterdir())
    assert len(pack(Corpus(path), vocabulary, length=64)) > 1


def test_a_short_text_shortens_the_window_and_one_token_is_too_few(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abc")
    assert pack(Corpus(path), character_vocabulary(["abc"]), length=64).length == 2
    path.write_text("a")
    with pytest.raises(DataError, match="less than two tokens"):
        pack(Corpus(path), character_vocabulary(["abc"]), length=64)


def test_another_end_token_gives_another_stream(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "to be"}\n{"text": "or not"}\n')
    made = bpe_vocabulary([TEXT], 300)
    streams = [pack(Corpus(tmp_path / "a.jsonl"), replace(made, end=end), 8).stream for end in (made.end, 5, None)]
    assert [int((stream == end).sum()) for stream, end in zip(streams, (made.end, 5))] == [1, 1]
    assert len(streams[2]) == len(streams[0]) - 1
