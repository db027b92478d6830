"""Names each bias of a transformer layer by its role, from the position and shape of its module."""

from collections.abc import Mapping

from torch import nn
from transformers.pytorch_utils import Conv1D

from beft.models.terms import TERMS


def name_biases(layer: nn.Module, projections: Mapping[str, str]) -> dict[str, str]:
    """Name each bias of a layer: term -> path of the bias relative to the layer.

    q, k and v have the same path where one fused linear holds them. A bias that has none of the
    roles in `TERMS` is named by the path of its module, dots replaced. Biases of modules that are
    neither a linear nor a norm, such as a router, are left out (`other_biases`).
    """
    roles = _roles_of_linears(layer, projections) | _roles_of_norms(layer, projections)
    terms = {term: f"{path}.bias" for term, path in projections.items()}
    named = set(terms.values())
    for name, parameter in layer.named_parameters():
        module, _, leaf = name.rpartition(".")
        if parameter.ndim != 1 or "bias" not in leaf or name in named:
            continue
        if not _adds_bias(layer.get_submodule(module)):
            continue
        term = roles.get(module) if leaf == "bias" else None
        if term is None:
            term = (module if leaf == "bias" else name).replace(".", "_")
            term = f"{term}_bias" if term in TERMS else term
        terms[term] = name
    return terms


def _roles_of_linears(layer: nn.Module, projections: Mapping[str, str]) -> dict[str, str]:
    """Path -> role of the linears besides q, k, v: attention_output, intermediate, output."""
    shapes = {
        name: features(module)
        for name, module in layer.named_modules()
        if is_linear(module) and name not in projections.values()
    }
    hidden = features(layer.get_submodule(projections["q"]))[0]
    holder, part = _attention_part(layer, projections)
    # A layer that holds q, k, v directly has no attention part: its first square linear is the end.
    inside = [n for n in shapes if part and under(n, part)]
    inside = (
        inside or [n for n, shape in shapes.items() if not part and shape == (hidden, hidden)][:1]
    )
    # Beside q, k and v may lie projections of positions; what projects the result comes after them.
    beyond = [n for n in inside if not under(n, holder)] or inside
    roles = {n: "attention_output" for n in beyond[-1:]}
    others = [n for n in shapes if n not in inside]
    widening = [n for n in others if shapes[n][0] == hidden]
    narrowing = [n for n in others if shapes[n][1] == hidden]
    if len(others) == 2 and widening == narrowing:  # as wide as the layer: only the order tells
        widening, narrowing = others[:1], others[1:]
    roles |= {n: "intermediate" for n in widening if len(widening) == 1}
    return roles | {n: "output" for n in narrowing if len(narrowing) == 1}


def _roles_of_norms(layer: nn.Module, projections: Mapping[str, str]) -> dict[str, str]:
    """Path -> role of the norms, where a layer has two: one of attention, one of feed-forward."""
    norms = [
        name
        for name, module in layer.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", None) == 1 and _has_bias(module)
    ]
    if len(norms) != 2:
        return {}
    _, part = _attention_part(layer, projections)
    # Layers register their norms in the order of their use, but for Falcon's, which names them.
    first, second = sorted(norms, key=lambda n: (not (part and under(n, part)), "input" not in n))
    return {first: "attention_norm", second: "output_norm"}


def _attention_part(layer: nn.Module, projections: Mapping[str, str]) -> tuple[str, str]:
    """The smallest module that holds q, k and v, and the outermost one around it in the layer."""
    split = [path.split(".")[:-1] for path in projections.values()]
    common = []
    for names in zip(*split, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    holder = ".".join(common)
    for depth in range(1, len(common) + 1):
        part = ".".join(common[:depth])
        if not isinstance(layer.get_submodule(part), nn.ModuleList | nn.Sequential):
            return holder, part
    return holder, ""


def is_linear(module: nn.Module | None) -> bool:
    weight = getattr(module, "weight", None)
    return getattr(weight, "ndim", None) == 2 and not isinstance(module, nn.Embedding)


def other_biases(layer: nn.Module) -> tuple[str, ...]:
    """Paths of the biases that `name_biases` leaves out: no module's output is a sum with them."""
    return tuple(
        name
        for name, parameter in layer.named_parameters()
        if "bias" in name.rpartition(".")[2]
        and (parameter.ndim != 1 or not _adds_bias(layer.get_submodule(name.rpartition(".")[0])))
    )


def _adds_bias(module: nn.Module) -> bool:
    """Whether a module's output is one tensor, to which its bias is added last."""
    if is_linear(module):
        return isinstance(module, nn.Linear | Conv1D)
    return getattr(getattr(module, "weight", None), "ndim", None) == 1


def _has_bias(module: nn.Module) -> bool:
    return getattr(module, "bias", None) is not None


def features(linear: nn.Module) -> tuple[int, int]:
    """(in, out) of a linear; some keep the weight transposed, so the bias has the last word."""
    weight = linear.get_parameter("weight")
    out = linear.get_parameter("bias").numel() if _has_bias(linear) else weight.shape[0]
    return weight.numel() // out, out


def under(path: str, parent: str) -> bool:
    return not parent or path == parent or path.startswith(f"{parent}.")
