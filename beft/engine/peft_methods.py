"""LoRA and prefix tuning, through PEFT: add them to a model, count them, remove them again."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beft.data.order import order
from beft.errors import UserError
from beft.models.base import Model
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES


@dataclass(frozen=True)
class Adapter:
    """New trained parameters in or beside a model."""

    tuned: dict[str, torch.nn.Parameter]  # the parameters, by name
    remove: Callable[[], None]  # removes them from the model
    # batch size -> keys and values that every row of a batch sees first; None for LoRA
    cache: Callable[[int], Any] | None = None  # a DynamicCache, which PEFT declares as a tensor


def adapt(model: Model, recipe: Recipe) -> Adapter | None:
    """Adds the new parameters of the recipe's technique; None where it adds none."""
    technique = TECHNIQUES[recipe.technique]
    if technique.adapted:
        return _lora(model, recipe, technique.adapted)
    return _prefix(model, recipe) if technique.adds else None


def _targets(model: Model, terms: tuple[str, ...], name: str) -> list[str]:
    """Modules to adapt; a fused projection is adapted whole, and only where q and v both are."""
    if model.sites.fused and terms != ("q", "v"):
        raise UserError(
            f"{name}: the model computes q, k and v in one fused projection, which PEFT can only "
            "adapt whole; use 'lora'"
        )
    return list(dict.fromkeys(site.module for term in terms for site in model.sites.of(term)))


def _wrap(model: torch.nn.Module, config: Any) -> Any:
    """PEFT's model of a configuration (`Any`: PEFT ships no types)."""
    from peft import get_peft_model

    with warnings.catch_warnings():  # PEFT asks transformers by a name that is about to go
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        return get_peft_model(model, config)


def _lora(model: Model, recipe: Recipe, terms: tuple[str, ...]) -> Adapter:
    from peft import LoraConfig

    settings = recipe.training
    config = LoraConfig(
        r=settings["lora_rank"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=0.0,
        bias="none",
        target_modules=_targets(model, terms, recipe.technique),
    )
    flags = {name: p.requires_grad for name, p in model.model.named_parameters()}
    device = next(model.model.parameters()).device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # of the matrices' initial values
        wrapped = _wrap(model.model, config)
    tuned = {n: p for n, p in wrapped.named_parameters() if ".lora_" in n}
    for parameter in tuned.values():
        parameter.data = parameter.data.float().to(device)

    def remove() -> None:
        wrapped.unload()
        if hasattr(model.model, "peft_config"):
            del model.model.peft_config
        for name, parameter in model.model.named_parameters():
            parameter.requires_grad_(flags[name])

    return Adapter(tuned, remove)


def _prefix(decoder: Model, recipe: Recipe) -> Adapter:
    """A prefix whose initial keys and values are those of tokens that the seed draws."""
    from peft import PrefixTuningConfig, TaskType

    count = recipe.training["prefix_tokens"]
    model = decoder.model
    config = PrefixTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=count)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    wrapped = _wrap(model, config)
    weight = wrapped.get_parameter("prompt_encoder.default.embedding.weight")
    with torch.no_grad():
        real = _real_activations(decoder, recipe.seed, count)
        if real.shape != weight.shape:
            raise UserError(
                f"prefix: PEFT lays this model's prefix out as {tuple(weight.shape)}, its keys and "
                f"values are {tuple(real.shape)}; use another technique"
            )
        weight.data = real.float().to(weight.device)

    def remove() -> None:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])

    return Adapter({"prefix": weight}, remove, wrapped.get_prompt)


@torch.no_grad()
def _real_activations(decoder: Model, seed: int, count: int) -> torch.Tensor:
    """Keys and values (count, layers * 2 * width) of tokens that the seed draws."""
    tokenizer = decoder.tokenizer
    special = set(tokenizer.all_special_ids)
    usable = np.array([i for i in range(len(tokenizer)) if i not in special])
    ids = usable[order(len(usable), "prefix", seed)[:count]]
    device = next(decoder.model.parameters()).device
    past = decoder.model(torch.as_tensor(ids, device=device)[None], use_cache=True).past_key_values
    parts = []
    for layer in past.layers:
        for values in (layer.keys, layer.values):  # (1, heads, count, width of a head)
            parts.append(values[0].transpose(0, 1).reshape(count, -1))
    return torch.cat(parts, dim=1)


def added_numbers(model: Model, recipe: Recipe) -> int:
    """How many scalars the recipe's technique adds and trains."""
    adapter = adapt(model, recipe)
    if adapter is None:
        return 0
    try:
        return sum(p.numel() for p in adapter.tuned.values())
    finally:
        adapter.remove()
