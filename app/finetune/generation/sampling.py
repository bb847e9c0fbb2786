"""Sampling: continue a text one token at a time, by temperature, top-k and top-p.

The same seed gives the same tokens on any device: tokens are drawn on the CPU, in float32, with a separate generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from app.errors import ConfigError, Problem
from app.finetune.generation.readers import Reader


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Raises ConfigError with every problem at once."""

    max_tokens: int = 200
    temperature: float = 1.0
    """Logits are divided by it: 0 takes the likeliest token, 1 keeps the model's distribution."""
    top_k: int | None = None
    """Draw only from the k likeliest tokens."""
    top_p: float | None = None
    """Draw only from the likeliest tokens that together reach this probability (Holtzman et al. 2020, section 3.1)."""
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
    """Return the probabilities that tokens are drawn with: (B, V) float32, rows of sum 1, from logits (B, V).

    The temperature is above 0. Top-k cuts first, then top-p cuts the remaining distribution, as in transformers. Ties
    at the k-th place stay.
    """
    logits = logits.float() / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        kth = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    shares: Tensor = logits.softmax(dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, places = shares.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # probability of all likelier tokens; 0 for the first, which stays
        kept = ordered.masked_fill(before >= sampling.top_p, 0.0)
        shares = torch.zeros_like(shares).scatter_(1, places, kept)
        shares = shares / shares.sum(dim=-1, keepdim=True)
    return shares


@torch.no_grad()
def continuations(reader: Reader, prompt: Tensor, sampling: Sampling) -> Iterator[Tensor]:
    """Yield the tokens that follow prompts of equal length (B, T), T >= 1: (B,) at a time, on the CPU.

    Ends after `max_tokens`, or when every row has drawn `sampling.stop`. A row repeats it until the others end.
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
