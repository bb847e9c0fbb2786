"""Train a part of a transformers model or of our GPT: frozen layers, gradual unfreezing, a new head, LoRA.

The parts are found by structure: the head is everything outside `base_model`, the layers are the list of modules as
long as the configuration's number of layers, and the embeddings are the embedding tables below the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from app.errors import ModelError, Problem, did_you_mean
from app.models.gpt import GPT
from app.schema import AdaptableModel, Lora


def apply_adapters(model: Any, settings: AdaptableModel) -> nn.Module:
    """Freeze parts of a model and add LoRA as its recipe says, and return it.

    Raises ModelError if a part does not exist or nothing is left to train.
    """
    freeze_bottom(model, settings.freeze.layers)
    freeze_named(model, settings.freeze.names)
    adapted: nn.Module = add_lora(model, settings.lora) if settings.lora else model
    if not any(p.requires_grad for p in adapted.parameters()):
        raise ModelError(Problem("model.freeze: nothing is left to train", "freeze fewer layers or names"))
    return adapted


def merge_adapters(model: Any) -> Any:
    """Return a plain model to save: LoRA's products are added to the weights that they adapt."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def layers_of(model: Any) -> Sequence[nn.Module]:
    """Return the model's layers from the bottom up. Raises ModelError if its structure does not show them."""
    if isinstance(model, GPT):
        return list(model.blocks)
    depth = getattr(model.config, "num_hidden_layers", None)
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return list(module)
    raise ModelError(
        Problem(f"model.freeze.layers: no layers are found in {type(model).__name__}", "use model.freeze.names")
    )


def freeze_bottom(model: Any, count: int) -> None:
    """Freeze the embeddings and the `count` lowest layers; 0 freezes nothing. Raises ModelError for too many."""
    if not count:
        return
    layers = layers_of(model)
    if count > len(layers):
        raise ModelError(
            Problem(f"model.freeze.layers: {count}, but the model has {len(layers)}", f"say at most {len(layers)}")
        )
    for stage in stages(model)[: count + 1]:
        for parameter in stage:
            parameter.requires_grad = False


def freeze_named(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze parameters by name; `*` matches anything. Raises ModelError naming each pattern without a match."""
    names = [name for name, _ in model.named_parameters()]
    unknown = [pattern for pattern in patterns if not any(_matches(name, pattern) for name in names)]
    if unknown:
        fixes = [did_you_mean(pattern, names) for pattern in unknown]
        raise ModelError(
            *(
                Problem(
                    f"model.freeze.names: no parameter is called {pattern!r}",
                    f"did you mean {fix}?" if fix else f"names are like {names[0]}",
                )
                for pattern, fix in zip(unknown, fixes)
            )
        )
    for name, parameter in model.named_parameters():
        if any(_matches(name, pattern) for pattern in patterns):
            parameter.requires_grad = False


def stages(model: Any) -> list[list[nn.Parameter]]:
    """Return the parameters from the bottom up: embeddings, each layer, then the rest (head, pooler, last norm)."""
    layers = [list(layer.parameters()) for layer in layers_of(model)]
    in_layers = {id(p) for layer in layers for p in layer}
    ours = isinstance(model, GPT)  # all of it is base model: its head is the token embedding
    prefix = "" if ours else f"{model.base_model_prefix}."
    head = {id(p) for name, p in model.named_parameters() if not name.startswith(prefix)}
    base = model if ours else model.base_model
    tables = [p for m in base.modules() if "mbedding" in type(m).__name__ for p in m.parameters()]
    bottom = list({id(p): p for p in tables if id(p) not in in_layers | head}.values())
    below = in_layers | {id(p) for p in bottom}
    return [bottom, *layers, [p for p in model.parameters() if id(p) not in below]]


class Unfreezing:
    """Gradual unfreezing (Howard and Ruder 2018, section 3.3): the head first, one more layer every `every` steps."""

    def __init__(self, model: Any, every: int) -> None:
        self.every = every
        self.stages = [[p for p in stage if p.requires_grad] for stage in stages(model)]

    def apply(self, step: int) -> None:
        """Turn gradients on for the stages that are trained at optimizer step `step`, and off for the others."""
        trained = 1 + step // self.every
        for depth, stage in enumerate(reversed(self.stages)):
            for parameter in stage:
                parameter.requires_grad = depth < trained
                if depth >= trained:
                    parameter.grad = None


def add_lora(model: Any, settings: Lora) -> nn.Module:
    """Return the model with LoRA in its attention or in `targets`; all else is frozen except a classifier's head.

    Raises ModelError if no module has the name of a target.
    """
    import peft

    ours = isinstance(model, GPT)
    shares_table = ours or model.get_output_embeddings() is not None
    heads = [] if shares_table else [name for name, _ in model.named_children() if name != model.base_model_prefix]
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or (["qkv"] if ours else None),
        modules_to_save=[name for name in heads if any(True for _ in getattr(model, name).parameters())] or None,
    )
    try:
        with_lora: nn.Module = peft.get_peft_model(model, config)
    except ValueError as error:
        linear = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, nn.Linear)})
        raise ModelError(Problem(f"model.lora.targets: {error}", f"name some of: {', '.join(linear)}")) from error
    return with_lora


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")
