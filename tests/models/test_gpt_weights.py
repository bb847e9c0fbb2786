"""Hugging Face GPT-2 folders read and written: the same numbers as transformers, and every difference named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.errors import ModelError
from app.models.gpt import GPT, GPTConfig
from app.models.gpt_weights import hugging_face_name, load_gpt2, read_gpt2_config, save_gpt2

SIZES = [
    pytest.param({"vocab_size": 50, "n_positions": 16, "n_layer": 1, "n_head": 1, "n_embd": 8}, id="smallest"),
    pytest.param({"vocab_size": 257, "n_positions": 64, "n_layer": 3, "n_head": 4, "n_embd": 64}, id="odd-vocabulary"),
    pytest.param({"vocab_size": 512, "n_positions": 128, "n_layer": 2, "n_head": 12, "n_embd": 96}, id="gpt2-heads"),
]


def hugging_face(folder: Path, **sizes: Any) -> Any:
    """Return a random GPT2LMHeadModel saved into `folder`, its weights and biases far from their initial values."""
    import transformers

    torch.manual_seed(3)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=0, eos_token_id=0, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, safe_serialization=True)
    return model


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("activation", ["gelu_new", "gelu"])
def test_logits_are_those_of_transformers(tmp_path: Path, sizes: dict[str, int], activation: str) -> None:
    theirs = hugging_face(tmp_path, activation_function=activation, **sizes)
    ours = load_gpt2(tmp_path)
    ids = torch.randint(sizes["vocab_size"], (2, sizes["n_positions"]))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, atol=1e-4, rtol=0)


def test_a_saved_model_loads_with_transformers(tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    ours = GPT(GPTConfig(vocab_size=65, context=32, layers=2, heads=2, width=32, dropout=0.1, activation="gelu")).eval()
    save_gpt2(ours, tmp_path, stop_token=7)
    theirs, report = transformers.GPT2LMHeadModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert theirs.config.resid_pdrop == 0.1 and theirs.config.eos_token_id == 7
    ids = torch.randint(65, (2, 32))
    with torch.no_grad():
        torch.testing.assert_close(theirs.eval()(ids).logits, ours(ids), atol=1e-5, rtol=0)


def test_a_round_trip_is_exact_both_ways(tmp_path: Path) -> None:
    hugging_face(tmp_path / "theirs", vocab_size=60, n_positions=16, n_layer=2, n_head=2, n_embd=16)
    ours = load_gpt2(tmp_path / "theirs")
    save_gpt2(ours, tmp_path / "ours")
    before, after = (load_file(tmp_path / whose / "model.safetensors") for whose in ("theirs", "ours"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = load_gpt2(tmp_path / "ours")
    assert again.config == ours.config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), ours.state_dict().values()))


def test_openais_own_layout_is_read(tmp_path: Path) -> None:
    """No prefix, a stored causal mask, a stored copy of the tied head, half precision."""
    hugging_face(tmp_path, vocab_size=60, n_positions=16, n_layer=1, n_head=2, n_embd=16)
    expected = load_gpt2(tmp_path)
    tensors = {
        name.removeprefix("transformer."): t.half() for name, t in load_file(tmp_path / "model.safetensors").items()
    }
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    tensors["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    found = load_gpt2(tmp_path)
    for a, b in zip(found.state_dict().values(), expected.state_dict().values()):
        assert torch.equal(a, b.half().float())


def test_shards_are_read(tmp_path: Path) -> None:
    theirs = hugging_face(tmp_path / "whole", vocab_size=60, n_positions=16, n_layer=2, n_head=2, n_embd=16)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="8KB", safe_serialization=True)
    assert not (tmp_path / "shards" / "model.safetensors").exists()
    whole, shards = load_gpt2(tmp_path / "whole"), load_gpt2(tmp_path / "shards")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), shards.state_dict().values()))


def test_every_wrong_tensor_is_named(tmp_path: Path) -> None:
    hugging_face(tmp_path, vocab_size=60, n_positions=16, n_layer=2, n_head=2, n_embd=16)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["transformer.h.1.attn.c_proj.bias"]
    del tensors["transformer.ln_f.weight"]
    tensors["transformer.h.0.adapter.weight"] = torch.ones(1)
    tensors["transformer.wpe.weight"] = torch.ones(8, 16)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load_gpt2(tmp_path)
    assert [problem.what for problem in caught.value.problems] == [
        "missing tensor h.1.attn.c_proj.bias",
        "missing tensor ln_f.weight",
        "unexpected tensor h.0.adapter.weight",
        "tensor wpe.weight has shape [8, 16], but config.json says [16, 16]",
    ]


def test_an_untied_head_is_refused(tmp_path: Path) -> None:
    hugging_face(tmp_path, vocab_size=60, n_positions=16, n_layer=1, n_head=2, n_embd=16)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = torch.ones(60, 16)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="ties them"):
        load_gpt2(tmp_path)


def test_every_unsupported_setting_is_named(tmp_path: Path) -> None:
    sizes = {"vocab_size": 9, "n_positions": 8, "n_head": 1, "n_embd": 8, "n_layer": 1}
    wrong = {"resid_pdrop": "0.1", "activation_function": "relu", "scale_attn_by_inverse_layer_idx": True, "n_inner": 8}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", **sizes, **wrong}))
    with pytest.raises(ModelError) as caught:
        read_gpt2_config(tmp_path)
    assert sorted(problem.what.split(" is ")[0] for problem in caught.value.problems) == sorted(["model_type", *wrong])


@pytest.mark.parametrize("config", ["", "[]", "{", '{"model_type": "bert"}', "\ud800".encode("utf-8", "surrogatepass")])
def test_a_config_of_something_else_is_a_model_error(tmp_path: Path, config: str | bytes) -> None:
    (tmp_path / "config.json").write_bytes(config if isinstance(config, bytes) else config.encode())
    with pytest.raises(ModelError):
        read_gpt2_config(tmp_path)


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    hugging_face(tmp_path, vocab_size=60, n_positions=16, n_layer=1, n_head=2, n_embd=16)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        load_gpt2(tmp_path)
    weights.unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be read"):
        load_gpt2(tmp_path)


def test_names_become_those_of_transformers() -> None:
    assert hugging_face_name("blocks.11.attention_norm.bias") == "h.11.ln_1.bias"
    assert hugging_face_name("blocks.0.mlp_out.weight") == "h.0.mlp.c_proj.weight"
    assert hugging_face_name("norm.weight") == "ln_f.weight"
