"""A trimmed table changes nothing that a model answers, whatever its architecture does with its embeddings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers

from app.models.trimmed_embedding import TrimmedEmbedding, restore_embeddings, trim_embeddings

TINY = {
    "vocab_size": 40,
    "d_model": 16,
    "hidden_size": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "num_layers": 1,
    "num_hidden_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_attention_heads": 2,
    "num_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "intermediate_size": 32,
    "d_ff": 32,
    "d_kv": 8,
    "max_position_embeddings": 32,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "dropout_rate": 0.0,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "bart": {},
    "mbart": {"scale_embedding": True},
    "t5": {"decoder_start_token_id": 0},
    "gemma": {"num_key_value_heads": 2},
    "llama": {"num_key_value_heads": 2},
    "electra": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trimmed_model_answers_like_the_whole_one(kind: str) -> None:
    """In training mode and in evaluation mode, and the same again after the table is whole."""
    default = transformers.AutoConfig.for_model(kind)
    known = {*vars(default), *default.attribute_map}
    sizes = {name: value for name, value in TINY.items() if name in known}
    config = transformers.AutoConfig.for_model(kind, **sizes, **KINDS[kind], pad_token_id=0, eos_token_id=2)
    torch.manual_seed(0)
    whole: Any = transformers.AutoModelForSequenceClassification.from_config(config)
    trimmed = copy.deepcopy(whole)
    ids = torch.tensor([[5, 9, 7, 2], [9, 11, 5, 2]])
    trim_embeddings(trimmed, torch.unique(ids))
    for mode in (True, False):
        expected, found = (model.train(mode)(input_ids=ids).logits for model in (whole, trimmed))
        torch.testing.assert_close(found, expected)
    assert isinstance(trimmed.get_input_embeddings(), TrimmedEmbedding) == (kind not in ("bart", "mbart"))
    restore_embeddings(trimmed)
    torch.testing.assert_close(trimmed(input_ids=ids).logits, expected)
