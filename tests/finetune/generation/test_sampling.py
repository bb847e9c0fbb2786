"""Sampling: the distribution, the seed, the cache, the end of a text and the end of the context."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from app.errors import ConfigError
from app.finetune.generation.readers import GPTReader, window
from app.finetune.generation.sampling import Sampling, continuations, probabilities
from app.models.gpt import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=40, context=16, layers=2, heads=2, width=32)


@pytest.fixture(scope="module")
def model() -> GPT:
    """Random and far from uniform, so that a wrong cache would change what is drawn."""
    torch.manual_seed(0)
    model = GPT(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    return model


def drawn(model: GPT, prompt: Tensor, sampling: Sampling) -> Tensor:
    return torch.stack(list(continuations(GPTReader(model), prompt, sampling)), dim=1)


@torch.no_grad()
def without_cache(model: GPT, prompt: Tensor, sampling: Sampling) -> Tensor:
    random = torch.Generator().manual_seed(sampling.seed)
    ids = prompt
    for _ in range(sampling.max_tokens):
        logits = model(ids[:, -window(ids.shape[1], CONFIG.context) :])[:, -1]
        ids = torch.cat([ids, torch.multinomial(probabilities(logits, sampling), 1, generator=random)], dim=1)
    found: Tensor = ids[:, prompt.shape[1] :]
    return found


@pytest.mark.parametrize("length", [1, 15, 16, 17, 60])
def test_the_cache_draws_what_the_whole_sequence_draws(model: GPT, length: int) -> None:
    prompt = torch.randint(40, (3, length), generator=torch.Generator().manual_seed(length))
    sampling = Sampling(max_tokens=50, temperature=0.9, top_k=20, top_p=0.95, seed=length)
    assert torch.equal(drawn(model, prompt, sampling), without_cache(model, prompt, sampling))


def test_a_seed_repeats_and_another_differs(model: GPT) -> None:
    prompt = torch.tensor([[1, 2, 3]])
    first = drawn(model, prompt, Sampling(max_tokens=30, temperature=2.0, seed=5))
    torch.rand(7)  # the process's own generator must not matter
    assert torch.equal(first, drawn(model, prompt, Sampling(max_tokens=30, temperature=2.0, seed=5)))
    assert not torch.equal(first, drawn(model, prompt, Sampling(max_tokens=30, temperature=2.0, seed=6)))


def test_temperature_zero_takes_the_likeliest(model: GPT) -> None:
    prompt = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        expected = model(prompt)[0, -1].argmax()
    assert drawn(model, prompt, Sampling(max_tokens=1, temperature=0))[0, 0] == expected
    assert drawn(model, prompt, Sampling(max_tokens=1, top_k=1))[0, 0] == expected
    assert drawn(model, prompt, Sampling(max_tokens=1, top_p=1e-9))[0, 0] == expected


def test_a_row_stops_and_the_others_continue(model: GPT) -> None:
    prompt = torch.randint(40, (4, 3), generator=torch.Generator().manual_seed(0))
    free = drawn(model, prompt, Sampling(max_tokens=40, seed=2))
    stop = int(free[0, 4])
    stopped = drawn(model, prompt, Sampling(max_tokens=40, seed=2, stop=stop))
    for row in stopped.tolist():
        if stop in row:
            assert set(row[row.index(stop) :]) == {stop}
    assert torch.equal(stopped[0, :5], free[0, :5])


def test_all_rows_stopped_ends_the_text(model: GPT) -> None:
    prompt = torch.tensor([[1, 2, 3]])
    free = drawn(model, prompt, Sampling(max_tokens=40, seed=2))[0].tolist()
    assert (
        drawn(model, prompt, Sampling(max_tokens=40, seed=2, stop=free[6]))[0].tolist()
        == free[: free.index(free[6]) + 1]
    )


def test_probabilities_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def shares(**chosen: float) -> list[float]:
        return [round(p, 4) for p in probabilities(logits, Sampling(**chosen))[0].tolist()]  # type: ignore[arg-type]

    assert shares() == [0.5, 0.3, 0.15, 0.05]
    assert shares(top_k=2) == [0.625, 0.375, 0, 0]
    assert shares(top_p=0.5) == [1, 0, 0, 0]
    assert shares(top_p=0.51) == [0.625, 0.375, 0, 0]
    assert shares(top_k=3, top_p=0.84) == [0.625, 0.375, 0, 0]  # after top-k the second reaches 0.842
    assert shares(temperature=0.5)[0] == pytest.approx(0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), abs=1e-4)


@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("top_p", [None, 0.7])
def test_probabilities_are_those_of_transformers(top_k: int | None, top_p: float | None) -> None:
    import transformers

    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(1)).mul(3)
    theirs = transformers.TemperatureLogitsWarper(0.8)(None, logits)
    if top_k:
        theirs = transformers.TopKLogitsWarper(top_k)(None, theirs)
    if top_p:
        theirs = transformers.TopPLogitsWarper(top_p)(None, theirs)
    torch.testing.assert_close(
        probabilities(logits, Sampling(temperature=0.8, top_k=top_k, top_p=top_p)), theirs.softmax(-1)
    )


@given(st.integers(1, 400), st.integers(1, 40))
@settings(deadline=None)
def test_the_window_fits_keeps_half_and_moves_forward(length: int, context: int) -> None:
    size = window(length, context)
    assert 1 <= size <= context
    assert size == length if length <= context else size >= context // 2
    assert length + 1 - window(length + 1, context) >= length - size


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(max_tokens=0, temperature=-1, top_k=0, top_p=1.5)
    assert len(caught.value.problems) == 4
    with pytest.raises(ConfigError):
        Sampling(temperature=float("nan"))
