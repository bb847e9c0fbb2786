"""A model that reads ahead, or that padding misleads, is refused; one that does not passes and stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from app.errors import ModelError
from app.models.causal_lm import build_causal_lm, build_config
from app.models.self_test import check_causal, check_ids, check_length, check_padding
from app.schema import CausalLM
from tests.finetune.small_bert import small_bert

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "d_model": 16,
    "n_embd": 16,
    "emb_dim": 16,
    "embedding_size": 16,
    "num_hidden_layers": 1,
    "n_layer": 1,
    "n_layers": 1,
    "decoder_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_head": 2,
    "n_heads": 2,
    "d_inner": 32,
    "decoder_attention_heads": 2,
    "intermediate_size": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 32,
}
DECODERS = ("bart", "bloom", "gpt2", "gpt_neox", "llama", "mistral", "opt", "phi", "qwen2")
ENCODERS = ("bert", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert", "roberta", "roformer", "xlnet")


def random_lm(kind: str, **settings: Any) -> Any:
    known = vars(transformers.AutoConfig.for_model(kind))
    names = {*known, *type(transformers.AutoConfig.for_model(kind)).attribute_map}
    sizes = {name: value for name, value in SIZES.items() if name in names}
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **{**sizes, **settings})
    )


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_is_causal(kind: str) -> None:
    model = random_lm(kind).train()
    before = torch.get_rng_state()
    check_causal(model, 32)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_is_refused_by_its_kind(kind: str) -> None:
    with pytest.raises(ModelError, match=f"a {kind} model is no causal language model"):
        check_causal(random_lm(kind), 32)


def test_an_encoder_that_is_set_up_as_a_decoder_is_one() -> None:
    check_causal(random_lm("bert", is_decoder=True), 32)


def test_the_causal_recipe_refuses_an_encoder() -> None:
    settings = CausalLM(pretrained=False, config={"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2})
    with pytest.raises(ModelError, match=r"depend on later tokens[\s\S]*is_decoder=true"):
        build_causal_lm(settings, build_config(settings), 40, None)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(small_bert(tmp_path / "bert"))


def classifier(kind: str, each_token: bool = False, **settings: Any) -> Any:
    auto = (
        transformers.AutoModelForTokenClassification if each_token else transformers.AutoModelForSequenceClassification
    )
    known = vars(transformers.AutoConfig.for_model(kind))
    names = {*known, *type(transformers.AutoConfig.for_model(kind)).attribute_map}
    sizes = {name: value for name, value in SIZES.items() if name in names}
    torch.manual_seed(0)
    return auto.from_config(transformers.AutoConfig.for_model(kind, **{**sizes, "num_labels": 3, **settings}))


@pytest.mark.parametrize("kind", ["albert", "bert", "deberta-v2", "distilbert", "electra", "roberta"])
@pytest.mark.parametrize("each_token", [False, True])
def test_padding_leaves_the_answers_of_encoders(kind: str, each_token: bool, tokenizer: Any) -> None:
    check_padding(classifier(kind, each_token, pad_token_id=0), tokenizer, 32, each_token)


def test_a_decoder_is_judged_by_its_last_token_if_both_agree_on_the_padding(tokenizer: Any) -> None:
    check_padding(classifier("llama", pad_token_id=tokenizer.pad_token_id), tokenizer, 32, False)
    with pytest.raises(ModelError, match="a llama model answers otherwise to a text with padding"):
        check_padding(classifier("llama", pad_token_id=tokenizer.mask_token_id), tokenizer, 32, False)


@pytest.mark.parametrize(("kind", "each_token"), [("xlnet", False), ("convbert", True)])
def test_a_model_that_padding_misleads_is_refused(kind: str, each_token: bool, tokenizer: Any) -> None:
    with pytest.raises(ModelError, match=f"a {kind} model answers otherwise"):
        check_padding(classifier(kind, each_token), tokenizer, None, each_token)


def test_a_model_without_an_attention_mask_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="a fnet model cannot read"):
        check_padding(classifier("fnet"), tokenizer, 32, False)


def test_a_model_without_a_table_of_tokens_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="a canine model has no table of its tokens"):
        check_padding(classifier("canine", num_hash_buckets=8), tokenizer, 32, False)


def test_a_model_of_fewer_positions_than_it_promises_is_refused() -> None:
    """Luke numbers its positions from the padding id, and no list has to know that."""
    luke = classifier("luke", pad_token_id=1, entity_vocab_size=8, entity_emb_size=8)
    check_length(luke, 30)
    with pytest.raises(ModelError, match="a luke model cannot read the 32 tokens"):
        check_length(luke, 32)
    check_length(classifier("bert"), 32)


def test_a_token_without_a_row_is_named() -> None:
    config = transformers.BertConfig(vocab_size=40)
    check_ids(config, 39)
    with pytest.raises(ModelError, match="token 40, but the model's embedding table has 40 rows"):
        check_ids(config, 40)
