"""Read and write Hugging Face GPT-2 folders (config.json and model.safetensors) for our own `GPT`.

OpenAI's layers are "Conv1D", a linear map whose matrix is stored as (in, out), but nn.Linear stores (out, in). So four
matrices of each block are transposed. The head is tied to the token embedding and is not stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from app import fileio
from app.errors import ModelError, Problem
from app.models.gpt import GPT, Activation, GPTConfig

WEIGHTS = "model.safetensors"
PREFIX = "transformer."  # of the names that GPT2LMHeadModel saves; OpenAI's own upload has none
BUFFERS = (".attn.bias", ".attn.masked_bias")  # the causal mask, which older releases of transformers stored

# Our name of a part to theirs. Each is whole between dots.
PARTS = {
    "tokens": "wte",
    "positions": "wpe",
    "blocks": "h",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp_in": "mlp.c_fc",
    "mlp_out": "mlp.c_proj",
    "norm": "ln_f",
}
TRANSPOSED = ("attention.qkv.weight", "attention.out.weight", "mlp_in.weight", "mlp_out.weight")

ACTIVATIONS: dict[str, Activation] = {"gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "gelu": "gelu"}

# Settings of a GPT2Config that change what the weights mean, and the values that `GPT` supports. The first value is
# transformers' default, which holds if the setting is missing.
FIXED = {
    "model_type": ("gpt2",),
    "activation_function": tuple(ACTIVATIONS),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
SIZES = {
    "vocab_size": "vocab_size",
    "context": "n_positions",
    "layers": "n_layer",
    "heads": "n_head",
    "width": "n_embd",
}

A_GPT2 = "name a folder with a GPT-2"
ANY_MODEL = "use the recipe causal-lm, which runs any transformers model"


def read_gpt2_config(folder: Path, dropout: float | None = None) -> GPTConfig:
    """Return the sizes of the GPT-2 in a folder; `dropout` replaces the rate it was trained with.

    Raises ModelError naming every setting that `GPT` does not support.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError) as error:
        raise ModelError(Problem(f"config.json cannot be read: {error}", A_GPT2, str(folder))) from error
    problems = [
        Problem(f"{name} is {values[name]!r}; our GPT-2 supports {accepted}", ANY_MODEL, str(path))
        for name, accepted in FIXED.items()
        if name in values and values[name] not in accepted
    ]
    trained_with = values.get("resid_pdrop", 0.1)  # 0.1 and gelu_new below are transformers' defaults
    if not isinstance(trained_with, (int, float)):
        problems.append(Problem(f"resid_pdrop is {trained_with!r}, not a number", A_GPT2, str(path)))
    missing = [name for name in SIZES.values() if not isinstance(values.get(name), int)]
    problems += [Problem(f"{name} is missing or not an integer", A_GPT2, str(path)) for name in missing]
    if not missing and values.get("n_inner") not in (None, 4 * values["n_embd"]):
        problems.append(Problem(f"n_inner is {values['n_inner']}, not 4 x n_embd", ANY_MODEL, str(path)))
    if problems:
        raise ModelError(*problems)
    return GPTConfig(
        **{ours: values[theirs] for ours, theirs in SIZES.items()},
        dropout=trained_with if dropout is None else dropout,
        activation=ACTIVATIONS[values.get("activation_function", "gelu_new")],
    )


def load_gpt2(folder: Path, dropout: float | None = None) -> GPT:
    """Return the GPT-2 in a folder, in float32 and in evaluation mode.

    Raises ModelError naming each tensor that is missing, unexpected or of another shape, or a file that cannot be read.
    """
    model = GPT(read_gpt2_config(folder, dropout))
    state = model.state_dict()  # shares its storage with the parameters
    with ExitStack() as files:
        stored = {name.removeprefix(PREFIX): tensor for name, tensor in _stored(folder, files).items()}
        stored = {name: tensor for name, tensor in stored.items() if not name.endswith(BUFFERS)}
        head = stored.pop("lm_head.weight", None)
        _check(stored, state, folder)
        for ours, target in state.items():
            value = stored[hugging_face_name(ours)][:]
            target.copy_(value.t() if ours.endswith(TRANSPOSED) else value)
        if head is not None and not torch.equal(head[:].to(torch.float32), state["tokens.weight"]):
            what = "lm_head.weight differs from the token embedding; our GPT-2 ties them"
            raise ModelError(Problem(what, ANY_MODEL, str(folder)))
    return model.eval()


def save_gpt2(model: GPT, folder: Path, stop_token: int | None = None) -> None:
    """Write config.json and model.safetensors in float32, as GPT2LMHeadModel.from_pretrained reads them.

    `stop_token` is the id of the token that ends a text, if the tokenizer has one. Each file appears whole or not at
    all.
    """
    sizes = {theirs: getattr(model.config, ours) for ours, theirs in SIZES.items()}
    drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), model.config.dropout)
    fixed = {name: accepted[0] for name, accepted in FIXED.items()}
    stop = {"bos_token_id": stop_token, "eos_token_id": stop_token}
    fileio.write_json(
        folder / "config.json",
        {
            "architectures": ["GPT2LMHeadModel"],
            **fixed,
            "activation_function": model.config.activation,
            **sizes,
            **drops,
            **stop,
            "torch_dtype": "float32",
        },
    )
    tensors = {
        PREFIX + hugging_face_name(name): (value.t() if name.endswith(TRANSPOSED) else value).float().contiguous()
        for name, value in model.state_dict().items()
    }
    building = folder / f".{WEIGHTS}"
    save_file(tensors, building, metadata={"format": "pt"})
    building.replace(folder / WEIGHTS)


def hugging_face_name(name: str) -> str:
    """Return transformers' name of one of our tensors: blocks.3.attention.qkv.weight -> h.3.attn.c_attn.weight."""
    for ours, theirs in PARTS.items():
        name = re.sub(rf"(^|\.){re.escape(ours)}(?=\.)", rf"\g<1>{theirs}", name)
    return name


def _stored(folder: Path, files: ExitStack) -> dict[str, Any]:
    """Return lazy tensors by name, from one safetensors file or from the shards that an index names."""
    index = folder / f"{WEIGHTS}.index.json"
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.is_file() else [WEIGHTS]
        handles = [files.enter_context(safe_open(folder / name, framework="pt")) for name in names]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        fix = "save it with save_pretrained(..., safe_serialization=True), or download it again"
        raise ModelError(Problem(f"the safetensors weights cannot be read: {error}", fix, str(folder))) from error
    return {name: handle.get_slice(name) for handle in handles for name in handle.keys()}  # noqa: SIM118  # not a dict


def _check(stored: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path) -> None:
    """Compare names and shapes with the model's. Raises ModelError with every difference."""
    expected = {
        hugging_face_name(name): list(value.t().shape if name.endswith(TRANSPOSED) else value.shape)
        for name, value in state.items()
    }
    where, fix = str(folder), "take config.json and the weights from the same model"
    problems = [Problem(f"missing tensor {name}", fix, where) for name in expected if name not in stored]
    problems += [Problem(f"unexpected tensor {name}", fix, where) for name in stored if name not in expected]
    for name, shape in expected.items():
        if name in stored and stored[name].get_shape() != shape:
            what = f"tensor {name} has shape {stored[name].get_shape()}, but config.json says {shape}"
            problems.append(Problem(what, fix, where))
    if problems:
        raise ModelError(*problems)
