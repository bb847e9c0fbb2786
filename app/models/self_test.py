"""Tests that a model passes on its own weights before it is used: what the name of its architecture cannot promise.

An architecture that reads what it should not see, or that answers otherwise next to a longer text, raises no error by
itself: only its numbers are wrong. So each model is asked directly, with a few made-up tokens, on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from app.errors import ModelError, Problem, first_line

TOLERANCE = 1e-4  # of the largest logit; float32 in another order of summing changes about 1e-6 of it
LENGTH = 8  # tokens of the causality test
BODIES = (1, 3, 12)  # tokens of the padding test's texts, special tokens not counted


def check_causal(model: nn.Module, context: int | None) -> None:
    """Raise ModelError if a logit depends on a token that comes after it, as in an encoder.

    Such a model sees the token that it is to predict. `context` is the longest input, None without a limit.
    """
    network: Any = model
    config, rows = network.config, _rows(model)
    length = min(LENGTH, context or LENGTH)
    kept = length // 2
    first: Tensor = torch.remainder(torch.arange(length), rows)
    second = torch.cat([first[:kept], torch.remainder(first[kept:] + 1, rows)])
    with _probing(model):
        logits: list[Tensor] = [
            network(input_ids=ids[None], use_cache=False).logits[0].float() for ids in (first, second)
        ]
    change: Tensor = (logits[1] - logits[0]).abs()
    if not kept or rows < 2:
        return
    if bool(change[:kept].max() > 1e-5 * change[kept:].max()):
        what = f"a {config.model_type} model is no causal language model: its logits depend on later tokens"
        fix = "name a decoder, a GPT-2 or Llama for example"
        if getattr(config, "is_decoder", True) is False:
            fix += ", or set is_decoder to true in its configuration (model.config.is_decoder=true)"
        raise ModelError(Problem(what, fix))


def check_padding(model: nn.Module, tokenizer: Any, context: int | None, each_token: bool) -> None:
    """Raise ModelError if a text gets another answer in a batch with a longer one, in which it is padded, than alone.

    `context` is the longest input in tokens, None without a limit; `each_token`: the model answers for every token,
    not once for a text.
    """
    config: Any = model.config
    rows = _texts(tokenizer, _rows(model), context)
    longest = max(map(len, rows))
    pad = tokenizer.pad_token_id or 0
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with _probing(model):
        together: Tensor = model(input_ids=ids, attention_mask=mask).logits.float()
        alone: list[Tensor] = [
            model(input_ids=ids[i : i + 1, : len(row)], attention_mask=mask[i : i + 1, : len(row)]).logits[0].float()
            for i, row in enumerate(rows)
        ]
    for row, one, padded in zip(rows, alone, together):
        expected = padded[: len(row)] if each_token else padded
        off = float((one - expected).abs().max())
        if not off <= TOLERANCE * float(together.abs().max()):
            what = (
                f"a {config.model_type} model answers otherwise to a text with padding (token {pad}) than without: "
                f"the logits differ by {off:.2g}"
            )
            raise ModelError(Problem(what, "choose a model of another kind, a BERT or RoBERTa for example"))


def check_length(model: nn.Module, length: int, key: str = "max_length") -> None:
    """Raise ModelError if a model cannot read `length` tokens, which `data.KEY` sets.

    Some number their positions from the padding id, so they have fewer than the rows of their table.
    """
    network: Any = model
    tokens = torch.full((1, length), _rows(model) - 1)
    try:
        with _probing(model):
            network(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    except ModelError as error:
        if not isinstance(error.__cause__, IndexError):  # another reason than the table of positions
            return
        what = f"a {network.config.model_type} model cannot read the {length} tokens that its configuration promises"
        raise ModelError(Problem(what, f"say data.{key}={max(1, length - 8)}")) from error


def check_ids(config: Any, largest: int) -> None:
    """Raise ModelError if a model's embedding table has no row for token id `largest`, the largest of a tokenizer.

    On a GPU, a look-up beyond the table would end the process with a device-side assertion.
    """
    rows = getattr(config, "vocab_size", None)
    if rows is not None and largest >= rows:
        what = f"the tokenizer gives token {largest}, but the model's embedding table has {rows} rows"
        fix = "add the rows: model.resize_token_embeddings(len(tokenizer)), then save model and tokenizer together"
        raise ModelError(Problem(what, fix))


def _texts(tokenizer: Any, rows: int, context: int | None) -> list[list[int]]:
    """Return texts of different length as token ids: ordinary tokens between the special ones that go around each."""
    special = set(tokenizer.all_special_ids)
    ordinary = [i for i in range(min(rows, len(tokenizer))) if i not in special][-200:] or [0]
    plain, full = (tokenizer("a", add_special_tokens=add)["input_ids"] for add in (False, True))
    start = next(i for i in range(len(full) + 1) if full[i : i + len(plain)] == plain)
    before, after = full[:start], full[start + len(plain) :]
    room = max(1, (context or 512) - len(before) - len(after))
    bodies = sorted({min(length, room) for length in BODIES})
    return [
        [*before, *(ordinary[(7 * i + length) % len(ordinary)] for i in range(length)), *after] for length in bodies
    ]


def _rows(model: Any) -> int:
    try:
        table = model.get_input_embeddings()
        return int(table.weight.shape[0])
    except (NotImplementedError, AttributeError) as error:
        what = f"a {model.config.model_type} model has no table of its tokens"
        raise ModelError(Problem(what, "choose a model of another kind")) from error


@contextmanager
def _probing(model: Any) -> Iterator[None]:
    """Run the block with the model in evaluation mode; leave modes and generators as they were.

    A model that cannot even be called becomes a ModelError that names its kind.
    """
    modes: Sequence[tuple[nn.Module, bool]] = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            yield
    except Exception as error:  # a model raises whatever its code runs into
        what = f"a {model.config.model_type} model cannot read a plain sequence of tokens: {first_line(error)}"
        raise ModelError(Problem(what, "choose a model of another kind")) from error
    finally:
        for module, mode in modes:
            module.training = mode
