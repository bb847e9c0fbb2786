"""Documents end to end in one stream of tokens, cut into windows of equal length: no padding, every token trained on.

The stream is a memory-mapped array in the cache, keyed by the text and the tokenizer. A text is therefore encoded once,
and its tokens need not fit into memory afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch

from app.data.batch import IGNORE_INDEX, Batch
from app.data.cache import cached_arrays
from app.data.text.corpus import Corpus, pieces
from app.data.text.vocabulary import Vocabulary
from app.errors import DataError, Problem

FORMAT = 1  # part of the cache key: raise it when the arrays change their meaning
PIECES_PER_CALL = 16  # more would cost memory: the tokenizer's notes on a token take a hundred times the token's space

Stream = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Windows:
    """Windows of `length` tokens over a stream, each with the next token of every position as target; a `DataSet`.

    A window starts every `stride` tokens. The last one is moved back so that it ends with the stream. If windows do not
    overlap otherwise, the targets that the last one shares with the one before are ignored.
    """

    stream: Stream
    """(N,) token ids."""
    length: int
    stride: int
    digest: str
    """sha256 of the text, the tokenizer and the token that ends a document."""

    @cached_property
    def starts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(windows,) position of the first token of each window."""
        last = len(self.stream) - 1 - self.length
        starts = np.arange(0, last + 1, self.stride)
        return starts if starts[-1] == last else np.append(starts, last)

    @cached_property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.full(len(self), self.length)

    @cached_property
    def repeated(self) -> int:
        """Positions at the start of the last window that the window before it already counts."""
        if len(self) == 1 or self.stride < self.length:
            return 0
        return max(0, int(self.starts[-2]) + self.length - int(self.starts[-1]))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        positions = self.starts[indices][:, None] + np.arange(self.length + 1)
        rows = torch.from_numpy(self.stream[positions].astype(np.int64))  # (B, T + 1)
        # Copies, because the two slices share memory: IGNORE_INDEX written to the targets would appear among the ids.
        ids, targets = rows[:, :-1].clone(), rows[:, 1:].clone()
        ends = indices == len(self) - 1
        targets[torch.from_numpy(ends), : self.repeated] = IGNORE_INDEX
        return Batch(
            inputs={"ids": ids},
            index=torch.from_numpy(np.ascontiguousarray(indices)),
            labels=targets,
            useful=ids.numel() - int(ends.sum()) * self.repeated,
            padded=ids.numel(),
        )


def pack(corpus: Corpus, vocabulary: Vocabulary, length: int, stride: int | None = None) -> Windows:
    """Return windows over a text, by default without overlap; a short text shortens them.

    Raises DataError if the text has less than two tokens.
    """
    definition = [str(FORMAT), corpus.digest, vocabulary.digest, str(vocabulary.end)]
    digest = hashlib.sha256("\n".join(definition).encode()).hexdigest()
    [stream] = cached_arrays("packed", digest, ["stream"], lambda: [encode_stream(corpus.documents(), vocabulary)])
    if len(stream) < 2:
        raise DataError(Problem("the text has less than two tokens", "give it more", str(corpus.path)))
    length = min(length, len(stream) - 1)
    return Windows(stream, length, stride or length, digest)


def encode_stream(documents: Sequence[str], vocabulary: Vocabulary) -> Stream:
    """Return the (N,) token ids of documents with the end token between them; in 16 bits if the vocabulary allows."""
    kind = np.uint16 if len(vocabulary) <= 1 << 16 else np.int32
    stream: list[Stream] = []
    for i, document in enumerate(documents):
        if i and vocabulary.end is not None:
            stream.append(np.array([vocabulary.end], dtype=kind))
        waiting = pieces(document)
        while batch := list(islice(waiting, PIECES_PER_CALL)):
            stream += [ids.astype(kind) for ids in vocabulary.encode(batch)]
    return np.concatenate(stream)
