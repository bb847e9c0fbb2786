"""Documents end to end in one stream of tokens, cut into windows of equal length: no padding, every token trained on.

The stream lies in the cache as a memory-mapped array, keyed by the text and the tokenizer, so a text is encoded once
and is never in memory whole again.
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

from app.data.batch import Batch
from app.data.cache import arrays
from app.data.text.corpus import Corpus, pieces
from app.data.text.vocabulary import Vocabulary
from app.errors import DataError, Problem

FORMAT = 1  # raise it when the arrays change their meaning
AT_ONCE = (
    16  # pieces tokenized together: the tokenizer's notes on each token take a hundred times the token's own space
)
IGNORED = -100  # target of a position that another window already counts; PyTorch's own default

Stream = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Windows:
    """Windows of `length` tokens over a stream, each with the token that follows every one of them; a `DataSet`.

    They start every `stride` tokens. The last one is moved back to end with the stream; where windows do not overlap
    otherwise, what it shares with the one before is not counted again.
    """

    stream: Stream
    """(N,) token ids."""
    length: int
    stride: int
    digest: str
    """sha256 of the text and the tokenizer."""

    @cached_property
    def starts(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(windows,) first token of each."""
        last = len(self.stream) - 1 - self.length
        starts = np.arange(0, last + 1, self.stride)
        return starts if starts[-1] == last else np.append(starts, last)

    @cached_property
    def lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.full(len(self), self.length)

    @cached_property
    def repeated(self) -> int:
        """Positions at the start of the last window that the one before it already counts."""
        if len(self) == 1 or self.stride < self.length:
            return 0
        return max(0, int(self.starts[-2]) + self.length - int(self.starts[-1]))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, indices: np.ndarray[Any, Any]) -> Batch:
        places = self.starts[indices][:, None] + np.arange(self.length + 1)
        rows = torch.from_numpy(self.stream[places].astype(np.int64))  # (B, T + 1)
        # Copies: of one row the two would be one piece of memory, and what is ignored below would be read as an id.
        ids, targets = rows[:, :-1].clone(), rows[:, 1:].clone()
        ends = indices == len(self) - 1
        targets[torch.from_numpy(ends), : self.repeated] = IGNORED
        return Batch(
            inputs={"ids": ids},
            index=torch.from_numpy(np.ascontiguousarray(indices)),
            labels=targets,
            useful=ids.numel() - int(ends.sum()) * self.repeated,
            padded=ids.numel(),
        )


def pack(corpus: Corpus, vocabulary: Vocabulary, length: int, stride: int | None = None) -> Windows:
    """Windows over a text; `length` is cut down to what a short text has. Raises DataError for less than two tokens."""
    digest = hashlib.sha256(f"{FORMAT}\n{corpus.digest}\n{vocabulary.digest}".encode()).hexdigest()
    [stream] = arrays("packed", digest, ["stream"], lambda: [encode(corpus.documents(), vocabulary)])
    if len(stream) < 2:
        raise DataError(Problem("the text has less than two tokens", "give it more", str(corpus.path)))
    length = min(length, len(stream) - 1)
    return Windows(stream, length, stride or length, digest)


def encode(documents: Sequence[str], vocabulary: Vocabulary) -> Stream:
    """(N,) token ids of documents with the end token between two; in 16 bits where the vocabulary allows."""
    kind = np.uint16 if len(vocabulary) <= 1 << 16 else np.int32
    stream: list[Stream] = []
    for i, document in enumerate(documents):
        if i and vocabulary.end is not None:
            stream.append(np.array([vocabulary.end], dtype=kind))
        waiting = pieces(document)
        while batch := list(islice(waiting, AT_ONCE)):
            stream += [ids.astype(kind) for ids in vocabulary.encode(batch)]
    return np.concatenate(stream)
