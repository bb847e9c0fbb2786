"""Words in, subwords and windows out: how sentences that are already cut into words go through a subword model.

Each word is answered for at its first subword (Devlin et al. 2019, section 5.3). A sentence that is longer than the
model reads is cut into overlapping windows: every word is answered for in exactly one, with words on both sides to
judge it by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Pieces = list[int]
"""Token ids of one word, never none."""

CONTEXT = 4  # a window lends at most one part in so many of its room to the words of the next, on either side


class Window(NamedTuple):
    """Part of a sentence: which of its words are read, and which of those are answered for."""

    read: range
    kept: range


class Frame(NamedTuple):
    """Special tokens in front of and behind whatever a tokenizer encodes."""

    before: Pieces
    after: Pieces

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def frame_of(tokenizer: Any) -> Frame:
    """The special tokens that a tokenizer adds, found by letting it add them."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return Frame(framed[:start], framed[start + len(bare) :])


def pieces_of(tokenizer: Any, sentences: Sequence[Sequence[str]]) -> list[list[Pieces]]:
    """Token ids of each word, without special tokens; a word of which nothing is left is the unknown token."""
    if not sentences:
        return []
    encoded = tokenizer(
        [list(words) for words in sentences],
        is_split_into_words=True,
        add_special_tokens=False,
        return_attention_mask=False,
    )
    unknown = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id or 0
    found: list[list[Pieces]] = []
    for i, words in enumerate(sentences):
        pieces: list[Pieces] = [[] for _ in words]
        for token, word in zip(encoded["input_ids"][i], encoded.word_ids(i)):
            pieces[word].append(token)
        found.append([piece or [unknown] for piece in pieces])
    return found


def windows_of(sizes: Sequence[int], room: int) -> Iterator[Window]:
    """Windows over a sentence whose words have these numbers of tokens, each at most `room` tokens.

    A word that is longer counts as `room`: its first tokens stand for it. The kept words of all windows make up the
    sentence.
    """
    sizes = [min(size, room) for size in sizes]
    first, done = 0, 0
    while done < len(sizes):
        end = first + _fitting(sizes[first:], room)
        kept_to = len(sizes)
        if end < len(sizes):
            kept_to = max(done + 1, end - _fitting(sizes[first:end][::-1], room // CONTEXT))
        yield Window(range(first, end), range(done, kept_to))
        done = kept_to
        if done < len(sizes):
            lent = min(room // CONTEXT, room - sizes[done])
            first = done - _fitting(sizes[:done][::-1], lent)


def _fitting(sizes: Sequence[int], room: int) -> int:
    """How many of the first words have at most `room` tokens together."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > room:
            return count
    return len(sizes)
