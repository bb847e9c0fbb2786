"""Our GPT on a real card: the logits of the CPU through the padded head, and training by deterministic kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

from app.config import load  # noqa: E402
from app.finetune.generation.generator import load_generator  # noqa: E402
from app.finetune.generation.readers import GPTReader  # noqa: E402
from app.finetune.generation.sampling import Sampling, continuations  # noqa: E402
from app.finetune.train import train_recipe  # noqa: E402
from app.models.gpt import GPT, GPTConfig  # noqa: E402

ODD = GPTConfig(vocab_size=261, context=64, layers=2, heads=2, width=64)  # 261 is padded to 320 on a GPU


def test_logits_loss_and_gradients_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    model = GPT(ODD)
    ids, targets = torch.randint(261, (3, 64)), torch.randint(261, (3, 64))
    logits, loss = model(ids), model(ids, targets)
    loss.backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model.cuda()
    torch.testing.assert_close(model(ids.cuda()).cpu(), logits, atol=1e-4, rtol=1e-4)
    on_gpu = model(ids.cuda(), targets.cuda())
    on_gpu.backward()
    torch.testing.assert_close(on_gpu.cpu(), loss, atol=1e-2, rtol=1e-4)
    for parameter, gradient in zip(model.parameters(), expected):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad.cpu(), gradient, atol=1e-2, rtol=1e-3)


def test_the_same_seed_draws_the_same_tokens_on_both() -> None:
    torch.manual_seed(0)
    model, prompt = GPT(ODD), torch.randint(261, (2, 5))
    sampling = Sampling(max_tokens=100, temperature=2.0)
    on_cpu = torch.stack(list(continuations(GPTReader(model), prompt, sampling)))
    on_gpu = torch.stack(list(continuations(GPTReader(model.cuda()), prompt, sampling)))
    assert torch.equal(on_cpu, on_gpu)


@pytest.mark.parametrize("recipe", ["gpt-char", "causal-lm", "digits-cnn"])
@pytest.mark.parametrize("compiled", ["false", "true"])
def test_recipes_train_and_judge_deterministically(recipe: str, compiled: str, tmp_path: Path) -> None:
    """`deterministic` makes torch raise if a kernel is not."""
    given = ["trainer.max_steps=20", "trainer.accelerator=gpu", f"trainer.compile={compiled}"]
    first, second = (train_recipe(load(recipe, given), tmp_path / name) for name in ("a", "b"))
    assert first.scores["dev"].values == second.scores["dev"].values
    if recipe != "digits-cnn":
        assert len(load_generator(first.run).texts("The", Sampling(max_tokens=10))[0]) >= 1
