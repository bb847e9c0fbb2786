"""Continuing a text one token at a time, from a cache, by temperature, top-k and top-p.

The same seed gives the same tokens on any device: the draw is made on the CPU, in float32, with a generator of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.errors import ConfigError, Problem
from app.models.gpt import GPT, Cache


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Raises ConfigError, with every problem at once."""

    max_tokens: int = 200
    temperature: float = 1.0
    """Logits are divided by it: 0 takes the likeliest token, 1 the model's own distribution."""
    top_k: int | None = None
    """Only the k likeliest tokens."""
    top_p: float | None = None
    """Only the likeliest tokens that together reach this probability (Holtzman et al. 2020, section 3.1)."""
    seed: int = 1
    stop: int | None = None
    """The token that ends a text."""

    def __post_init__(self) -> None:
        wrong = []
        if self.max_tokens < 1:
            wrong.append(Problem(f"--max-tokens is {self.max_tokens}", "give a whole number from 1"))
        if not 0 <= self.temperature < float("inf"):
            wrong.append(
                Problem(f"--temperature is {self.temperature}", "give 0 for the likeliest token, or a number above")
            )
        if self.top_k is not None and self.top_k < 1:
            wrong.append(Problem(f"--top-k is {self.top_k}", "give a whole number from 1, or leave it out"))
        if self.top_p is not None and not 0 < self.top_p <= 1:
            wrong.append(Problem(f"--top-p is {self.top_p}", "give a number above 0 and up to 1, or leave it out"))
        if wrong:
            raise ConfigError(*wrong)


def probabilities(logits: Tensor, sampling: Sampling) -> Tensor:
    """What each token is drawn with. Logits (B, V), temperature above 0 -> (B, V) float32, rows of sum 1.

    Top-k cuts first, top-p then cuts the distribution that is left, as in transformers. Ties at the k-th place stay.
    """
    logits = logits.float() / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        kth = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    shares: Tensor = logits.softmax(dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, places = shares.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # probability of all that is likelier; 0 for the first, so it stays
        kept = ordered.masked_fill(before >= sampling.top_p, 0.0)
        shares = torch.zeros_like(shares).scatter_(1, places, kept)
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return shares


def window(length: int, context: int) -> int:
    """How many of the last tokens of `length` the model reads.

    All, while they fit. Positions are learned, so a window that slides by one token makes every cached key wrong; it
    hops by half the context instead, and the cache is refilled once in context / 2 tokens.
    """
    if length <= context:
        return length
    hop = (context + 1) // 2
    return context - hop + 1 + (length - context - 1) % hop


class Reader(Protocol):
    """A model that remembers what it has read."""

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits (B, V) of the token after ids (B, n): all of the text so far, of which it reads only what is new."""


class GPTReader:
    """Our own GPT with its cache."""

    def __init__(self, model: GPT) -> None:
        self.model = model.eval()
        self.cache: Cache | None = None
        self.begin = 0
        """Place in the text of the first token in the cache."""

    def __call__(self, ids: Tensor) -> Tensor:
        weight = self.model.tokens.weight
        begin = ids.shape[1] - window(ids.shape[1], self.model.config.context)
        if self.cache is None or begin != self.begin:
            self.cache, self.begin = Cache(self.model.config, len(ids), like=weight), begin
        return self.model.next_logits(ids[:, begin + self.cache.length :].to(weight.device), self.cache)


@torch.no_grad()
def continuations(reader: Reader, prompt: Tensor, sampling: Sampling) -> Iterator[Tensor]:
    """The tokens that follow prompts of equal length, (B, T), T >= 1: (B,) at a time, on the CPU.

    Ends after `max_tokens`, or when every row has met `sampling.stop`, which a row repeats from then on.
    """
    random = torch.Generator().manual_seed(sampling.seed)
    ids = prompt.cpu()
    ended = torch.zeros(len(ids), dtype=torch.bool)
    for _ in range(sampling.max_tokens):
        logits = reader(ids).cpu()
        if sampling.temperature == 0:
            drawn = logits.argmax(dim=-1)
        else:
            drawn = torch.multinomial(probabilities(logits, sampling), 1, generator=random)[:, 0]
        if sampling.stop is not None:
            drawn = drawn.masked_fill(ended, sampling.stop)
            ended |= drawn == sampling.stop
        yield drawn
        if ended.all():
            return
        ids = torch.cat([ids, drawn[:, None]], dim=1)
