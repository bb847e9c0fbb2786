"""The arithmetic of a step: what is sped up, split or trimmed must learn what the plain way learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app import schema
from app.config import load
from app.finetune.engine.optimizers import build_optimizer, clip_gradients, learning_rate_factor, parameter_groups
from app.finetune.session import prepare
from app.models.trimmed_embedding import TrimmedEmbedding, restore_embeddings, trim_embeddings
from tests.finetune.small_bert import small_bert


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 300), nn.LayerNorm(300), nn.Tanh(), nn.Linear(300, 300), nn.Linear(300, 1))


def test_only_matrices_decay() -> None:
    decayed, plain = parameter_groups(small_model(), 0.1)
    assert all(p.dim() >= 2 for p in decayed["params"]) and decayed["weight_decay"] == 0.1
    assert all(p.dim() == 1 for p in plain["params"]) and plain["weight_decay"] == 0.0


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_each_optimizer_goes_downhill(name: Any) -> None:
    model = small_model()
    optimizer = build_optimizer(model, schema.Optimizer(name=name, lr=1e-3))
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (model(torch.ones(4, 7)) - 10).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "at_half", "at_end"),
    [("constant", 1.0, 1.0), ("linear", 0.55, 0.1), ("cosine", 0.55, 0.1), ("exponential", 0.1**0.5, 0.1)],
)
def test_schedules_start_at_one_and_end_at_their_final_share(name: Any, at_half: float, at_end: float) -> None:
    at = learning_rate_factor(schema.Schedule(name=name, warmup=10, final=0.1), 110)
    assert at(10) == pytest.approx(1.0)
    assert at(60) == pytest.approx(at_half)
    assert at(110) == pytest.approx(at_end)


def test_warm_up_rises_in_a_straight_line_and_may_be_a_share() -> None:
    steps = [learning_rate_factor(schema.Schedule(warmup=0.1), 50)(step) for step in range(6)]
    assert steps == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])


def test_inverse_square_root_falls_with_the_step() -> None:
    at = learning_rate_factor(schema.Schedule(name="inverse_sqrt", warmup=100), 1000)
    assert at(400) == pytest.approx(0.5)


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    large, small = [torch.full((3,), 4.0), torch.full((4,), 3.0)], [torch.tensor([0.3])]
    clip_gradients(large, 1.0)
    clip_gradients(small, 1.0)
    assert float(torch.cat(large).norm()) == pytest.approx(1.0, abs=1e-5)
    assert small[0].tolist() == pytest.approx([0.3])


class Holder(nn.Module):
    """As much of a transformers model as trimming looks at."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.table = nn.Embedding(50, 4, padding_idx=0)
        self.head = nn.Linear(4, 1)
        self.config = SimpleNamespace(pad_token_id=0)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        self.table = table

    def get_output_embeddings(self) -> None:
        return None

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.table(ids).tanh()).mean()
        return out


def test_a_trimmed_table_learns_what_the_whole_one_learns() -> None:
    used = torch.tensor([3, 7, 7, 20, 41])
    whole, trimmed = Holder(), Holder()
    trim_embeddings(trimmed, torch.tensor([3, 7, 20, 41]))
    assert isinstance(trimmed.table, TrimmedEmbedding) and trimmed.table.weight.shape == (5, 4)  # the padding's row too
    for model in (whole, trimmed):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            model(torch.stack([used.roll(step), torch.zeros(5, dtype=torch.long)])).backward()
            optimizer.step()
    unseen = torch.tensor([[3, 8, 49, 0]])
    trimmed.eval()
    torch.testing.assert_close(trimmed.table(unseen), whole.table(unseen))
    restore_embeddings(trimmed)
    torch.testing.assert_close(trimmed.table.weight, whole.table.weight)
    assert type(trimmed.table) is nn.Embedding and trimmed.table.padding_idx == 0


def weights_after(overrides: Sequence[str]) -> Tensor:
    session = prepare(
        load("hello-linear", ["data.examples=96", "trainer.max_epochs=2", "trainer.eval_every=null", *overrides])
    )
    session.fit()
    return torch.cat([p.detach().flatten() for p in session.model.parameters()])


@pytest.mark.parametrize("clip", ["null", "0.5"])
def test_n_micro_batches_of_b_are_one_batch_of_n_times_b(clip: str) -> None:
    one = weights_after(["trainer.batch_size=48", f"trainer.clip={clip}"])
    many = weights_after(["trainer.batch_size=12", "trainer.accumulate=4", f"trainer.clip={clip}"])
    torch.testing.assert_close(many, one, rtol=0, atol=1e-6)


CONLL = (
    "Ada B-PER\nlives O\nin O\nTurin B-LOC\n\nyes O\n\nBob B-PER\nRay I-PER\nwas O\nvery O\ngood O\n\nno O\nfilm O\n\n"
)


@pytest.mark.parametrize("recipe", ["ner", "gpt-char"])
def test_losses_over_tokens_are_weighted_by_their_tokens(recipe: str, tmp_path: Path) -> None:
    """Micro-batches of 1 and of all: each holds another number of words, or of characters, than the next."""
    (tmp_path / "train.conll").write_text(CONLL)
    (tmp_path / "text.jsonl").write_text("".join(f'{{"text": "{"ab" * n}"}}\n' for n in (1, 9, 3, 30, 2)))
    settings = {
        "ner": [f"model.name={small_bert(tmp_path / 'bert')}", "model.dropout=0", "trainer.batch_tokens=null"]
        + [f"data.{split}={tmp_path / 'train.conll'}" for split in ("train", "dev", "test")],
        "gpt-char": [f"data.{split}={tmp_path / 'text.jsonl'}" for split in ("train", "dev")]
        + ["model.layers=1", "model.width=16", "model.heads=2", "model.context=8", "data.stride=8"],
    }[recipe]
    settings += ["optimizer.name=sgd", "optimizer.lr=0.1", "schedule.name=constant", "schedule.warmup=0"]
    settings += ["trainer.max_epochs=2", "trainer.max_steps=2", "trainer.precision=fp32", "trainer.eval_every=null"]
    found = []
    for batch_size, accumulate in ((64, 1), (1, 64)):
        sizes = [f"trainer.batch_size={batch_size}", f"trainer.accumulate={accumulate}"]
        session = prepare(load(recipe, [*settings, *sizes]))
        begun = torch.cat([p.detach().flatten() for p in session.model.parameters()])
        session.fit()
        found.append(torch.cat([p.detach().flatten() for p in session.model.parameters()]))
        assert not torch.allclose(found[-1], begun, atol=1e-4)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6)


def test_accumulation_weights_by_what_each_micro_batch_holds() -> None:
    """With 70 in a micro-batch, 96 examples make one of 70 and one of 26: their mean is not the mean of their means."""
    one = weights_after(["trainer.batch_size=96"])
    uneven = weights_after(["trainer.batch_size=70", "trainer.accumulate=2"])
    torch.testing.assert_close(uneven, one, rtol=0, atol=1e-6)


def test_fewer_micro_batches_at_the_end_of_an_epoch_still_make_a_mean() -> None:
    """96 examples in micro-batches of 32, two to a step: the epoch's last step has but one."""
    settings = ["data.examples=96", "trainer.batch_size=32", "trainer.accumulate=2", "trainer.max_epochs=1"]
    session = prepare(load("hello-linear", settings))
    first, second, third = session.train_loader
    weight = torch.zeros(4)
    for group in ([first, second], [third]):
        ones = [torch.cat([batch.inputs["features"], torch.ones(32, 1)], dim=1) for batch in group]
        x, y = torch.cat(ones), torch.cat([batch.labels for batch in group if batch.labels is not None])[:, 0]
        weight -= 0.1 * 2 * x.T @ (x @ weight - y) / len(x)
    session.fit()
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in session.model.parameters()]), weight)


def test_gradients_are_clipped_by_their_own_norm_and_not_that_of_fp16s_scaled_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fused optimizer leaves it to its step to take the scale out, which would be after the clipping."""

    class Scaler:
        def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad.div_(65536.0)

    step = prepare(load("hello-linear", ["trainer.clip=1.0", "trainer.accelerator=cpu", "optimizer.name=sgd"])).step
    clipped: list[torch.Tensor] = []
    monkeypatch.setattr(step.fabric.strategy.precision, "scaler", Scaler(), raising=False)
    monkeypatch.setattr(step.fabric.strategy, "optimizer_step", lambda _: clipped.extend(gradients()))
    monkeypatch.setattr(step.optimizer, "_step_supports_amp_scaling", True, raising=False)

    def gradients() -> list[torch.Tensor]:
        return [p.grad.clone() for p in step.model.parameters() if p.grad is not None]

    for parameter in step.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.125 * 65536.0)
    step.update()
    for gradient in clipped:  # their norm is 0.25, so nothing is to be clipped
        torch.testing.assert_close(gradient, torch.full_like(gradient, 0.125))
    assert len(clipped) == 2
