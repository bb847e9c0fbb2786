"""The GPT: sizes, initialisation, the causal mask, the cache, and compilation without graph breaks."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from app.errors import ModelError
from app.models.gpt import GPT, Cache, GPTConfig, flops_per_token, parameter_count

GPT2 = GPTConfig(vocab_size=50257, context=1024, layers=12, heads=12, width=768)
SMALL = GPTConfig(vocab_size=65, context=16, layers=2, heads=2, width=16)


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(SMALL).eval()


def test_parameter_counts_are_those_of_the_published_models() -> None:
    medium = GPTConfig(50257, 1024, layers=24, heads=16, width=1024)
    assert parameter_count(GPT2) == 124_439_808
    assert parameter_count(medium) == 354_823_168
    assert sum(p.numel() for p in GPT(SMALL).parameters()) == parameter_count(SMALL)


def test_flops_are_those_of_the_palm_formula() -> None:
    assert flops_per_token(GPT2, 1024) == 6 * (124_439_808 - 1024 * 768) + 12 * 12 * 768 * 1024


def test_initial_weights_have_the_standard_deviation_of_the_paper() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=500, context=64, layers=8, heads=4, width=128))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            expected = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            assert parameter.eq(expected).all(), name
        else:
            into_residual = name.endswith(("attention.out.weight", "mlp_out.weight"))
            spread = 0.02 / math.sqrt(16) if into_residual else 0.02
            assert parameter.std().item() == pytest.approx(spread, rel=0.05), name


def test_a_new_model_predicts_uniformly(model: GPT) -> None:
    ids = torch.randint(65, (8, 16))
    assert model(ids, ids.roll(1)).item() / ids.numel() == pytest.approx(math.log(65), rel=0.02)


def test_no_position_sees_a_later_one(model: GPT) -> None:
    ids = torch.randint(65, (1, 16))
    changed = ids.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 65
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_the_loss_sums_over_targets_that_are_not_ignored(model: GPT) -> None:
    ids, targets = torch.randint(65, (3, 16)), torch.randint(65, (3, 16))
    targets[1, 4:] = -100
    each = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="none")
    torch.testing.assert_close(model(ids, targets), each.sum())


@torch.no_grad()
def test_the_cache_gives_the_logits_of_the_whole_sequence(model: GPT) -> None:
    ids = torch.randint(65, (3, 16))
    whole = model(ids)
    cache = Cache(SMALL, batch=3, like=whole)
    torch.testing.assert_close(model.next_logits(ids[:, :5], cache), whole[:, 4], atol=1e-5, rtol=0)
    for t in range(5, 16):
        torch.testing.assert_close(model.next_logits(ids[:, t : t + 1], cache), whole[:, t], atol=1e-5, rtol=0)


@torch.no_grad()
def test_more_positions_than_the_context_are_refused(model: GPT) -> None:
    with pytest.raises(ValueError, match="17 positions"):
        model(torch.zeros(1, 17, dtype=torch.long))
    cache = Cache(SMALL, batch=1, like=model.tokens.weight)
    model.next_logits(torch.zeros(1, 16, dtype=torch.long), cache)
    with pytest.raises(ValueError, match="17 positions"):
        model.next_logits(torch.zeros(1, 1, dtype=torch.long), cache)


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(65, 16, layers=1, heads=2, width=16, dropout=0.5))
    ids = torch.randint(65, (1, 16))
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_every_impossible_size_is_named() -> None:
    with pytest.raises(ModelError) as caught:
        GPTConfig(vocab_size=0, context=-1, layers=1, heads=1, width=1, dropout=1.0)
    assert [problem.what.split(" is ")[0] for problem in caught.value.problems] == [
        "model.vocab_size",
        "model.context",
        "model.dropout",
    ]
    with pytest.raises(ModelError, match=r"heads=12 equal heads\n.*model\.width=108"):
        GPTConfig(65, 64, layers=1, heads=12, width=100)


@pytest.mark.slow
def test_the_compiled_model_is_one_graph_with_the_same_gradients() -> None:
    """`fullgraph` raises on a graph break. Comparing gradients checks the backward graph too."""
    torch.manual_seed(0)
    model = GPT(SMALL)
    ids, targets = torch.randint(65, (2, 16)), torch.randint(65, (2, 16))
    model(ids, targets).backward()
    eager = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    torch.compile(model, fullgraph=True)(ids, targets).backward()
    for parameter, expected in zip(model.parameters(), eager):
        torch.testing.assert_close(parameter.grad, expected, atol=1e-4, rtol=1e-4)
