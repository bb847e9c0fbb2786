"""A GPT-2 decoder for PyTorch 2.0, from token ids to logits or the loss.

    model = GPT(GPTConfig(vocab_size=65, context=64, layers=4, heads=4, width=128))
    logits = model(ids)              # (B, T) int64 -> (B, T, V)
    loss = model(ids, targets)       # summed cross-entropy, for the caller to divide by the tokens

Shapes: B sequences, T positions, C width, H heads, D = C / H, V tokens in the vocabulary, L layers. The parameters have
OpenAI's shapes, so `gpt_weights` converts them to and from a Hugging Face folder without loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from app.errors import ModelError, Problem
from app.models.sizes import MOST_LAYERS, check_parameters

# Tensor cores run at full rate if every row is a multiple of 128 bytes (NVIDIA, Matrix Multiplication Background:
# 64 elements of 16 bits on the A100), so the 50,257 columns of GPT-2's logits are computed as 50,304.
TENSOR_CORE_ROWS = 64

Activation = Literal["gelu_new", "gelu"]


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a model. Raises ModelError with every problem if they do not fit together."""

    vocab_size: int
    context: int  # longest sequence: the number of learned positions
    layers: int
    heads: int
    width: int
    dropout: float = 0.0
    activation: Activation = "gelu_new"
    """gelu_new: OpenAI's approximation by tanh; gelu: by the error function, three times as fast on a CPU."""

    def __post_init__(self) -> None:
        problems = [
            Problem(f"model.{name} is {getattr(self, name)}", f"give model.{name} a whole number from 1")
            for name in ("vocab_size", "context", "layers", "heads", "width")
            if getattr(self, name) < 1
        ]
        if self.layers > MOST_LAYERS:
            problems.append(Problem(f"model.layers is {self.layers:,}", f"give model.layers at most {MOST_LAYERS:,}"))
        if not problems and self.width % self.heads:
            problems.append(
                Problem(
                    f"model.width={self.width} does not divide into model.heads={self.heads} equal heads",
                    f"take model.width={math.ceil(self.width / self.heads) * self.heads}",
                )
            )
        if not 0 <= self.dropout < 1:
            problems.append(
                Problem(f"model.dropout is {self.dropout}", "give model.dropout a number from 0 to below 1")
            )
        if problems:
            raise ModelError(*problems)


class Cache:
    """Keys and values of the positions that a model has already read, to generate one token at a time.

    The tensors, (B, H, context, D) for each layer, are allocated once and written in place; the first `length`
    positions are filled.
    """

    def __init__(self, config: GPTConfig, batch: int, like: Tensor) -> None:
        """Make an empty cache for `batch` sequences, with the device and dtype of `like`."""
        shape = (batch, config.heads, config.context, config.width // config.heads)
        self.layers = [(like.new_empty(shape), like.new_empty(shape)) for _ in range(config.layers)]
        self.length = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write key and value (B, H, T, D) at position `length`; return the layer's, (B, H, length + T, D)."""
        end = self.length + key.shape[2]
        keys, values = self.layers[layer]
        keys[:, :, self.length : end] = key
        values[:, :, self.length : end] = value
        return keys[:, :, :end], values[:, :, :end]


class Attention(nn.Module):
    """Causal self-attention: one matrix for query, key and value, PyTorch's fused kernel for the rest."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads = config.heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.heads, C // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D)
        if cache is not None:
            key, value = cache.extend(self.layer, key, value)
        y = F.scaled_dot_product_attention(
            query,
            key,
            value,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=T > 1,  # a single position attends to the whole cache
        )
        out: Tensor = self.out(y.transpose(1, 2).reshape(B, T, C))
        return out


class Block(nn.Module):
    """Pre-norm residual block: attention, then a two-layer perceptron with 4 C hidden units."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config, layer)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp_in = nn.Linear(config.width, 4 * config.width)
        self.mlp_out = nn.Linear(4 * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.approximate = "tanh" if config.activation == "gelu_new" else "none"

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attention(self.attention_norm(x), cache))
        hidden = F.gelu(self.mlp_in(self.mlp_norm(x)), approximate=self.approximate)
        out: Tensor = x + self.dropout(self.mlp_out(hidden))
        return out


class GPT(nn.Module):
    """Token and position embeddings, L blocks, a final norm, and a head tied to the token embedding.

    Raises ModelError if it is more than all memory.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        parameters = parameter_count(config)
        check_parameters(parameters, 4 * parameters, "take a smaller model.width, model.layers or model.context")
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.positions = nn.Embedding(config.context, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self._initialise()

    def _initialise(self) -> None:
        """Initialise as GPT-2: N(0, 0.02), zero biases, the 2L projections into the residual stream times 1/sqrt(2L).

        The factor keeps the variance of the residual stream from growing with depth (Radford et al. 2019, section 2.3).
        """
        residual = 0.02 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name:  # LayerNorm already starts at one
                into_residual = name.endswith(("attention.out.weight", "mlp_out.weight"))
                nn.init.normal_(parameter, std=residual if into_residual else 0.02)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> Tensor:
        """Token ids (B, T), T <= context -> logits (B, T, V), or with targets (B, T) their summed cross-entropy.

        Targets of -100, PyTorch's default `ignore_index`, are left out of the sum. The loss is part of the model so
        that the compiler can fuse the softmax over V, the largest tensor of the step, with the head. Raises ValueError
        if T is more than the context.
        """
        logits = self._head(self._hidden(ids))
        if targets is None:
            return logits
        flat = logits.view(-1, logits.shape[-1]).float()  # in bf16, the softmax over 50,000 tokens loses its tail
        return F.cross_entropy(flat, targets.view(-1), reduction="sum")

    def next_logits(self, ids: Tensor, cache: Cache) -> Tensor:
        """Read ids (B, T) after the cached positions; return the next token's logits (B, V). The cache grows by T.

        Raises ValueError if the cache is not empty and T is not 1, or if the cache would grow beyond the context.
        """
        if cache.length and ids.shape[1] > 1:
            raise ValueError("a cache that holds something takes one position at a time")
        hidden = self._hidden(ids, cache)
        cache.length += ids.shape[1]
        return self._head(hidden[:, -1])

    def _hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        start = cache.length if cache is not None else 0
        end = start + ids.shape[1]
        if end > self.config.context:
            raise ValueError(f"{end} positions do not fit into a context of {self.config.context}")
        x = self.dropout(self.tokens(ids) + self.positions.weight[start:end])  # (B, T, C)
        for block in self.blocks:
            x = block(x, cache)
        out: Tensor = self.norm(x)
        return out

    def _head(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., V)."""
        weight = self.tokens.weight
        if not x.is_cuda:
            return F.linear(x, weight)
        padded = F.pad(weight, (0, 0, 0, -len(weight) % TENSOR_CORE_ROWS))
        logits: Tensor = F.linear(x, padded)[..., : len(weight)]
        return logits


def parameter_count(config: GPTConfig) -> int:
    """Return the number of parameters of a model; the head is tied to the token embedding and counts once."""
    C = config.width
    block = 12 * C * C + 13 * C  # qkv 3C²+3C, out C²+C, mlp 8C²+5C, two norms 4C
    return (config.vocab_size + config.context) * C + config.layers * block + 2 * C


def flops_per_token(config: GPTConfig, length: int) -> int:
    """Return the floating-point operations of a forward and backward pass for one token of a sequence of `length`.

    6 N + 12 L H D T, from Chowdhery et al. 2022 (PaLM), appendix B. N is the parameters in matrix products: all but the
    position table; the token table is one, as the head. The masked half of the attention counts, as in the paper,
    although a kernel may skip it, so that figures can be compared with others.
    """
    multiplied = parameter_count(config) - config.context * config.width
    return 6 * multiplied + 12 * config.layers * config.width * length
