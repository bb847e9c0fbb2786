"""Sentences that are already split into words, cut into subwords and into windows that fit the model.

The label of a word stands at its first subword (Devlin et al. 2019, section 5.3). A sentence that is longer than the
model's input is cut into overlapping windows: each word is labelled in exactly one of them, and has context on both
sides in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Pieces = list[int]
"""Token ids of one word, at least one."""

CONTEXT = 4  # overlap on each side: at most 1/CONTEXT of the window


class Window(NamedTuple):
    """Part of a sentence: the words that the model reads, and those of them that are labelled in this window."""

    read: range
    kept: range


class SpecialTokens(NamedTuple):
    """Token ids that a tokenizer puts in front of and behind every text."""

    before: Pieces
    after: Pieces

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def special_tokens_of(tokenizer: Any) -> SpecialTokens:
    """Return the special tokens that a tokenizer adds, found by encoding a text with and without them."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    start = next(i for i in range(len(full)) if full[i : i + len(plain)] == plain)
    return SpecialTokens(full[:start], full[start + len(plain) :])


def pieces_of(tokenizer: Any, sentences: Sequence[Sequence[str]]) -> list[list[Pieces]]:
    """Return the token ids of each word without special tokens; the unknown token if the tokenizer drops the word."""
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
    """Yield windows of at most `room` tokens over a sentence whose words have these numbers of tokens.

    A word longer than `room` counts as `room` tokens, because only its first tokens are read. Together, the kept words
    of all windows are the sentence.
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
            overlap = min(room // CONTEXT, room - sizes[done])
            first = done - _fitting(sizes[:done][::-1], overlap)


def _fitting(sizes: Sequence[int], room: int) -> int:
    """Return how many of the first words have at most `room` tokens together."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > room:
            return count
    return len(sizes)
