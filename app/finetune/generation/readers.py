"""Readers: a model and its cache of keys and values, so that each token of a growing text is read once."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from app.models.gpt import GPT, Cache
from app.models.pretrained import max_positions


class Reader(Protocol):
    """A model that remembers what it has read."""

    def __call__(self, ids: Tensor) -> Tensor:
        """Return logits (B, V) of the token after ids (B, T): the whole text so far. Only its new tokens are read."""


class GPTReader:
    """Our own GPT with its cache."""

    def __init__(self, model: GPT) -> None:
        self.model = model.eval()
        self.cache: Cache | None = None
        self.begin = 0
        """Position in the text of the first token in the cache."""

    def __call__(self, ids: Tensor) -> Tensor:
        weight = self.model.tokens.weight
        begin = ids.shape[1] - window(ids.shape[1], self.model.config.context)
        if self.cache is None or begin != self.begin:
            self.cache, self.begin = Cache(self.model.config, len(ids), like=weight), begin
        return self.model.next_logits(ids[:, begin + self.cache.length :].to(weight.device), self.cache)


class TransformersReader:
    """A causal model of transformers with its cache."""

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.eval()
        self.cache: Any = None
        self.begin = self.end = 0
        """Positions in the text: of the first token in the cache, and after the last."""

    def __call__(self, ids: Tensor) -> Tensor:
        length, limit = ids.shape[1], max_positions(self.model.config)
        begin = length - (window(length, limit) if limit else length)
        if begin != self.begin:
            self.cache, self.begin, self.end = None, begin, begin
        new = ids[:, self.end :].to(self.model.device)
        output = self.model(input_ids=new, past_key_values=self.cache, use_cache=True)
        self.cache, self.end = output.past_key_values, length
        logits: Tensor = output.logits[:, -1]
        return logits


def window(length: int, context: int) -> int:
    """Return how many of the last tokens of a text of `length` the model reads.

    All of them, while they fit. Positions are learned, so sliding the window by one token would invalidate every cached
    key. Instead the window moves by half the context, and the cache is refilled once every context / 2 tokens.
    """
    if length <= context:
        return length
    hop = (context + 1) // 2
    return context - hop + 1 + (length - context - 1) % hop
