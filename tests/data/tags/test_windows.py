"""Words as subwords and windows: every word is labelled once, for any length of word and sentence."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.data.tags.windows import pieces_of, special_tokens_of, windows_of
from tests.data.word_tokenizer import word_tokenizer

TOKENIZER = word_tokenizer()


def test_special_tokens_are_those_that_the_tokenizer_adds() -> None:
    assert special_tokens_of(TOKENIZER) == ([2], [3])


def test_each_word_has_its_own_pieces() -> None:
    assert pieces_of(TOKENIZER, [["Ada", "Lovelace", "."], ["New York"]]) == [[[4], [5, 6], [8]], [[9, 10]]]


def test_a_word_that_the_tokenizer_drops_becomes_the_unknown_token() -> None:
    assert pieces_of(TOKENIZER, [["Ada", "\u200b", "Ada"], ["\u200b"]]) == [[[4], [1], [4]], [[1]]]


def test_no_sentences_have_no_pieces() -> None:
    assert pieces_of(TOKENIZER, []) == []


def test_a_sentence_that_fits_is_one_window() -> None:
    assert list(windows_of([3, 1, 4], room=8)) == [(range(3), range(3))]


def test_windows_overlap_on_both_sides() -> None:
    windows = list(windows_of([1] * 20, room=8))  # overlap: a quarter of the room, two words, on each side
    assert [(w.read.start, w.read.stop, w.kept.start, w.kept.stop) for w in windows] == [
        (0, 8, 0, 6),
        (4, 12, 6, 10),
        (8, 16, 10, 14),
        (12, 20, 14, 20),
    ]


def test_a_word_longer_than_the_room_is_a_window_alone() -> None:
    windows = list(windows_of([1, 50, 1], room=4))
    assert [list(w.read) for w in windows] == [[0], [1], [2]]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.integers(1, 20))
def test_every_word_is_kept_once_and_every_window_fits(sizes: list[int], room: int) -> None:
    windows = list(windows_of(sizes, room))
    assert [word for window in windows for word in window.kept] == list(range(len(sizes)))
    for window in windows:
        assert sum(min(sizes[word], room) for word in window.read) <= room
        assert window.read.start <= window.kept.start < window.kept.stop <= window.read.stop
    for first, second in pairwise(windows):
        assert first.read.start <= second.read.start < second.read.stop
