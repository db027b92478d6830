"""Write tuned biases and a head as the files of an adapter that PEFT's BEFT loads."""

from collections.abc import Sequence
from typing import Literal

import torch
from safetensors.torch import save
from torch import nn

from beft.engine.base import Tensors
from beft.models.base import Model
from beft.models.sites import Site
from beft.store.files import to_json

PREFIX = "base_model.model."  # what PEFT puts before the names of the base model's modules
WHOLE = ("classifier", "score")  # heads that PEFT saves in any case
CONFIG, WEIGHTS, HEAD = "adapter_config.json", "adapter_model.safetensors", "head.safetensors"

# What the base is: a causal model, a model with a head on the first token, or what `AutoModel`
# loads, with a head of ours on the mean of its tokens.
TaskType = Literal["CAUSAL_LM", "SEQ_CLS", "FEATURE_EXTRACTION"]


def obstacle(model: Model, terms: Sequence[str]) -> str | None:
    """Which biases of these terms PEFT's BEFT cannot hold, and why; None if it can hold all.

    It adds a vector to the output of a whole linear; the rows of a fused one that belong to no
    tuned term get zeros.
    """
    sites = _sites(model, terms)
    modules = {site.module: model.model.get_submodule(site.module) for site in sites}
    for site in sites:
        kind = type(modules[site.module]).__name__
        if site.rows is not None and not isinstance(modules[site.module], nn.Linear):
            return f"rows of one fused linear ({site.module}), a {kind} and no nn.Linear"
    other = dict.fromkeys(
        site.term
        for site in sites
        if not isinstance(modules[site.module], nn.Linear)
        or site.parameter != f"{site.module}.bias"
    )
    return f"{', '.join(other)}, which are not biases of linears" if other else None


def peft_files(
    model: Model,
    terms: Sequence[str],
    pre: Tensors,
    post: Tensors,
    head: Tensors,
    task_type: TaskType,
    base: str,
    revision: str | None,
) -> dict[str, bytes]:
    """`adapter_config.json` and `adapter_model.safetensors`.

    The latter holds, for each tuned bias, what PEFT adds to the output of its linear: tuned minus
    pretrained, (1, width) float32; and the modules of the head. A head on the mean of all tokens is
    none that PEFT knows, so it is a file of its own, `head.safetensors`.

    Args:
        model: its head's parameters are overwritten.
        terms: at least one, none of which is an `obstacle`.
        pre, post: term -> (layers, width) before and after tuning.
        head: parameter -> value; none of a decoder.
        base, revision: what the configuration calls the base model.
    """
    inner = task_type == "FEATURE_EXTRACTION"
    outer = f"{model.model.base_model_prefix}." if inner else ""
    tensors: dict[str, torch.Tensor] = {}
    for site in _sites(model, terms):
        linear = model.model.get_submodule(site.module)
        assert isinstance(linear, nn.Linear)
        name = f"{PREFIX}{site.module.removeprefix(outer)}.beft_bias"
        whole = tensors.setdefault(name, torch.zeros(1, linear.out_features))
        whole[0, site.index] = post[site.term][site.layer] - pre[site.term][site.layer]
    with torch.no_grad():
        for name, value in head.items():
            model.model.get_parameter(name).copy_(value)
    modules = [] if inner else _head_modules(head)
    for module in modules:
        for name, value in model.model.get_submodule(module).state_dict().items():
            tensors[f"{PREFIX}{module}.{name}"] = value
    targets = dict.fromkeys(site.module.removeprefix(outer) for site in _sites(model, terms))
    files = {
        CONFIG: _config(task_type, base, revision, list(targets), modules),
        WEIGHTS: save(tensors, metadata={"format": "pt"}),
    }
    if inner:
        files[HEAD] = save({n: v.contiguous() for n, v in head.items()}, metadata={"format": "pt"})
    return files


def _sites(model: Model, terms: Sequence[str]) -> list[Site]:
    return [site for term in terms for site in model.sites.of(term)]


def _head_modules(head: Tensors) -> list[str]:
    """The modules that hold the head, those that PEFT takes whole by their names as such."""
    return list(
        dict.fromkeys(
            top if (top := name.partition(".")[0]) in WHOLE else name.rpartition(".")[0]
            for name in head
        )
    )


def _config(
    task_type: str, base: str, revision: str | None, targets: list[str], modules: list[str]
) -> bytes:
    from peft import BeftConfig

    config = BeftConfig(
        task_type=task_type,
        base_model_name_or_path=base,
        revision=revision,
        inference_mode=True,
        target_modules=targets,
        modules_to_save=modules or None,
    )
    # As `save_pretrained` writes it, but for the order of sets, which is another in each process.
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    return to_json(plain)
