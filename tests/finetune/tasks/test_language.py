"""Language models by recipe: learning, parity with transformers, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.config import load
from app.data.text.packing import Windows
from app.data.text.vocabulary import bpe_vocabulary
from app.errors import ConfigError, ModelError, WorkspaceError
from app.finetune.evaluate import evaluate_run
from app.finetune.generation.readers import TransformersReader, window
from app.finetune.generation.sampling import Sampling, continuations, probabilities
from app.finetune.session import prepare
from app.finetune.tasks.base import FlopCounter
from app.finetune.tasks.language import LanguageTask
from app.finetune.train import Finished, train_recipe
from app.models import fetch
from app.models.gpt import flops_per_token

TEXT = "".join(f"The {a} {b} runs.\nIt sees the {b}!\n\n" for a in ("red", "old", "small") for b in ("fox", "cat")) * 8
QUICK = ["trainer.precision=fp32", "trainer.accelerator=cpu", "trainer.eval_every=null"]
TINY = ["model.layers=1", "model.heads=2", "model.width=32", "model.context=16", *QUICK]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def gpt2_folder(tmp_path: Path) -> Path:
    """What a download of GPT-2 looks like, but tiny, random and without dropout."""
    import transformers

    folder = tmp_path / "gpt2"
    vocabulary = bpe_vocabulary([TEXT], 300)
    sizes = {"vocab_size": 300, "n_positions": 32, "n_layer": 2, "n_head": 2, "n_embd": 32}
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    torch.manual_seed(0)
    config = transformers.GPT2Config(**sizes, **drops, bos_token_id=0, eos_token_id=0)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder, safe_serialization=True)
    vocabulary.save(folder)
    return folder


def curve(finished: Finished) -> list[float]:
    records = map(json.loads, finished.run.metrics.read_text().splitlines())
    return [record["train/loss"] for record in records if "train/loss" in record]


def test_a_small_gpt_learns_a_small_text(text: Path, tmp_path: Path) -> None:
    recipe = load(
        "gpt-char", [f"data.train={text}", *TINY, "trainer.max_steps=60", "schedule.warmup=5", "optimizer.lr=5e-3"]
    )
    finished = train_recipe(recipe, tmp_path / "runs")
    scores = finished.scores["dev"].values
    assert scores["loss"] < 2.0  # the letters' frequencies alone give 2.79
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert evaluate_run(finished.run, recipe, "dev").values["loss"] == pytest.approx(scores["loss"], rel=1e-6)
    dev = prepare(recipe).splits.dev
    assert isinstance(dev, Windows)
    whole = dev[np.arange(len(dev))]
    assert whole.useful == len(dev.stream) - 1  # every token but the first is judged, and once


def test_the_saved_model_is_a_gpt2_of_transformers(text: Path, tmp_path: Path) -> None:
    import transformers

    recipe = load("gpt-char", [f"data.train={text}", *TINY, "trainer.max_steps=5"])
    finished = train_recipe(recipe, tmp_path / "runs")
    model = transformers.AutoModelForCausalLM.from_pretrained(finished.run.model).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(finished.run.model)
    ids = torch.tensor(tokenizer(TEXT[-17:])["input_ids"])[None]
    assert ids.shape[1] == 17 and tokenizer.decode(ids[0]) == TEXT[-17:]
    session = prepare(load("gpt-char", [f"data.train={text}", *TINY]))
    ours = session.task.load(finished.run.model)
    with torch.no_grad():
        torch.testing.assert_close(ours(ids[:, :16]), model(ids[:, :16]).logits, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_our_gpt2_and_theirs_have_the_same_loss_curve(gpt2_folder: Path, text: Path, tmp_path: Path) -> None:
    """The same weights, data, order and optimizer; one is our model and loss, the other transformers'."""
    same = [
        f"model.name={gpt2_folder}",
        f"data.train={text}",
        "data.length=16",
        "data.stride=null",
        "trainer.batch_size=4",
        "trainer.max_epochs=3",
        "trainer.max_steps=20",
        "trainer.log_every=1",
        "trainer.clip=1",
        "optimizer.lr=3e-3",
        "optimizer.betas=[0.9,0.95]",
        "optimizer.weight_decay=0.1",
        "schedule.warmup=0.1",
        *QUICK,
    ]
    ours = train_recipe(load("gpt2", ["model.revision=null", *same]), tmp_path / "runs")
    theirs = ["model.pretrained=true", "model.config=null", "model.tokenizer=auto"]
    general = train_recipe(load("causal-lm", [*theirs, *same]), tmp_path / "runs")
    assert len(curve(ours)) == 20 and curve(ours)[-1] < curve(ours)[0] - 1
    assert curve(ours) == pytest.approx(curve(general), rel=1e-4)
    assert ours.scores["dev"].values == pytest.approx(general.scores["dev"].values, rel=1e-3)


def test_gpt2_from_random_weights_needs_no_hub(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_from_hub", lambda *_: pytest.fail("asked the hub"))
    sizes = [*TINY, f"data.train={text}", "data.length=16", "model.vocab_size=280"]
    session = prepare(load("gpt2", ["model.pretrained=false", *sizes]))
    model: Any = session.model
    assert isinstance(session.task, LanguageTask)
    assert model.config.vocab_size == len(session.task.vocabulary) <= 280
    with pytest.raises(ModelError, match=r"weights of openai-community/gpt2 .*\n.*model\.pretrained=false"):
        monkeypatch.setattr(fetch, "_from_hub", refused)
        prepare(load("gpt2"))


def test_a_tokenizer_comes_from_a_folder_that_holds_nothing_else(text: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    bpe_vocabulary([text.read_text()], 270).save(tmp_path / "tokenizer")
    sizes = [*TINY, f"data.train={text}", "data.length=16", f"model.tokenizer={tmp_path / 'tokenizer'}"]
    session = prepare(load("gpt2", ["model.pretrained=false", *sizes]))
    assert isinstance(session.task, LanguageTask) and len(session.task.vocabulary) <= 270


def refused(*_: object) -> Path:
    from app.errors import Problem

    raise ModelError(Problem("the hub cannot be reached", "go online once"))


@pytest.mark.parametrize(
    ("recipe", "overrides", "complaint"),
    [
        ("gpt2", ["model.layers=3"], "sizes from the weights"),
        ("gpt2", ["model.name=null"], "without a model.name"),
        ("gpt2", ["model.tokenizer=characters"], "tokens of its own tokenizer"),
        ("gpt2", ["data.length=33"], "more than the 32 tokens"),
        ("gpt-char", ["model.width=130"], "4 equal heads"),
        ("gpt-char", ["data.train=nowhere.txt"], "no such file"),
        ("gpt-char", ["model.tokenizer=bpe", "model.vocab_size=100"], "256 bytes"),
        ("causal-lm", ["model.config.num_hidden_layer=2"], "did you mean num_hidden_layers"),
        ("causal-lm", ["model.config.model_type=lama"], "no architecture is called 'lama'"),
        ("causal-lm", ["model.config=null"], "give either name or config"),
        ("causal-lm", ["model.pretrained=true"], "random weights"),
    ],
)
def test_impossible_settings_are_errors(
    recipe: str, overrides: list[str], complaint: str, gpt2_folder: Path, text: Path
) -> None:
    given = [f"data.train={text}", *QUICK]
    if recipe == "gpt2":
        given += [f"model.name={gpt2_folder}", "model.revision=null", "data.length=16"]
    with pytest.raises(WorkspaceError, match=complaint):
        prepare(load(recipe, [*given, *overrides]))


def test_predict_is_refused_with_a_fix(text: Path, tmp_path: Path) -> None:
    session = prepare(load("gpt-char", [f"data.train={text}", *TINY]))
    with pytest.raises(ConfigError, match="app generate"):
        session.task.predict_dataset(None)


@torch.no_grad()
def test_a_transformers_model_draws_the_same_with_and_without_its_cache(text: Path) -> None:
    small = ["model.config.max_position_embeddings=16", "model.config.hidden_size=32", "data.length=16"]
    session = prepare(load("causal-lm", [f"data.train={text}", *small, *QUICK]))
    model: Any = session.model.eval()
    assert isinstance(session.task, LanguageTask)
    for parameter in model.parameters():
        parameter.mul_(3)  # far from uniform, so that a wrong cache shows
    prompt = torch.randint(len(session.task.vocabulary), (2, 5), generator=torch.Generator().manual_seed(0))
    drawn = torch.stack(list(continuations(TransformersReader(model), prompt, Sampling(max_tokens=40))), dim=1)
    ids, random = prompt, torch.Generator().manual_seed(1)
    for _ in range(40):
        logits = model(ids[:, -window(ids.shape[1], 16) :]).logits[:, -1]
        ids = torch.cat([ids, torch.multinomial(probabilities(logits, Sampling()), 1, generator=random)], dim=1)
    assert torch.equal(drawn, ids[:, 5:])


@pytest.mark.slow
@pytest.mark.shared
def test_tinyshakespeare_reaches_nanogpts_loss(shared: Path, tmp_path: Path) -> None:
    """nanoGPT's README prints 1.88 for these settings on a CPU."""
    source = shared / "tinyshakespeare" / "input.txt"
    finished = train_recipe(load("gpt-char", [f"data.train={source}"]), tmp_path)
    assert finished.scores["dev"].values["loss"] <= 1.89


def test_our_gpt_trains_with_lora_and_is_saved_without(gpt2_folder: Path, text: Path, tmp_path: Path) -> None:
    settings = [f"model.name={gpt2_folder}", "model.pretrained=true", "data.length=16", f"data.train={text}", *QUICK]
    session = prepare(load("gpt2", [*settings, "trainer.max_steps=5", "model.lora.rank=2", "optimizer.lr=0.05"]))
    names = {name.split(".")[-3] for name, p in session.model.named_parameters() if p.requires_grad}
    assert names == {"lora_A", "lora_B"}
    task, batch = session.task, session.splits.dev[np.arange(2)]
    assert isinstance(task, LanguageTask)
    session.fit()
    session.model.eval()
    with torch.no_grad():
        trained = task.logits(session.model, batch)
    (tmp_path / "saved").mkdir()
    task.save(session.model, tmp_path / "saved")
    import transformers

    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    before: Any = transformers.AutoModelForCausalLM.from_pretrained(gpt2_folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(batch.inputs["ids"]).logits, trained, atol=1e-4, rtol=0)
        assert not torch.allclose(before(batch.inputs["ids"]).logits, trained, atol=1e-2)


def test_our_gpt_freezes_from_the_bottom(text: Path) -> None:
    layers = ["model.layers=2", "model.freeze.layers=1", f"data.train={text}", "trainer.max_steps=3"]
    session = prepare(load("gpt-char", [*TINY, *layers]))
    before = {name: p.detach().clone() for name, p in session.model.named_parameters()}
    session.fit()
    moved = {name.split(".")[0] for name, p in session.model.named_parameters() if not torch.equal(p, before[name])}
    still = {name for name, p in session.model.named_parameters() if torch.equal(p, before[name])}
    assert moved == {"blocks", "norm"} and {"tokens.weight", "positions.weight"} <= still
    assert all(name.startswith(("tokens", "positions", "blocks.0")) for name in still)


def test_flops_of_our_gpt_are_those_of_the_paper_until_a_part_is_frozen(text: Path) -> None:
    plain, frozen = (
        prepare(load("gpt-char", [*TINY, f"data.train={text}", *more]))
        for more in ([], ["model.freeze.names=[tokens]"])
    )
    batch = plain.splits.train[np.arange(3)]
    config: Any = plain.model.config
    count = FlopCounter(plain.task, plain.model)
    assert count(batch) == flops_per_token(config, 16) * batch.useful
    saved = count(batch) - FlopCounter(frozen.task, frozen.model)(batch)
    assert saved == 2 * config.vocab_size * config.width * batch.useful


def test_a_causal_model_of_fewer_positions_than_it_promises_is_refused(text: Path) -> None:
    """XLM-RoBERTa-XL numbers its positions from the padding id, so its table has two rows less than it says."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = {"model_type": "xlm-roberta-xl", "is_decoder": True, "max_position_embeddings": 16, **sizes}
    settings = [f"data.train={text}", "data.dev=null", "data.test=null", "model.tokenizer=characters"]
    settings += [f"model.config={json.dumps(config)}", "data.stride=null"]
    with pytest.raises(ModelError, match=r"cannot read the 16 tokens[\s\S]*data.length=8"):
        prepare(load("causal-lm", settings))
    prepare(load("causal-lm", [*settings, "data.length=8"]))
