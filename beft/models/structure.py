"""Finds the layers of a transformer, and the q, k and v projections in them."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn

from beft.errors import UserError
from beft.models.fused import Rows, covers, fused_projection
from beft.models.roles import features, is_linear, under
from beft.models.terms import PROJECTIONS

# What q, k and v are called in an attention module: words of structure that families share.
_PROJECTION_NAMES = (
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("to_q", "to_k", "to_v"),
    ("q", "k", "v"),
)


@dataclass(frozen=True)
class Stack:
    """The repeated layers of a transformer."""

    path: str  # full path of the list of layers
    layers: tuple[nn.Module, ...]  # the layers, first to last
    projections: Mapping[str, str]  # term (q, k, v) -> path of its linear relative to a layer
    # term -> its rows where the three are one fused linear; empty where they are three
    rows: Mapping[str, Rows] = field(default_factory=dict)


def find_stack(model: nn.Module) -> Stack:
    """Find the longest list of equal modules that each hold one attention block.

    Raises:
        UserError: There is none, or two could be meant; the message shows how to declare one.
    """
    fused, rows = fused_projection(getattr(model, "config", None)) or ("", {})
    lists = {
        path: tuple(modules)
        for path, modules in _lists_of_equals(model)
        if all(_attention_blocks(layer, fused) for layer in modules)
    }
    longest = max(map(len, lists.values()), default=0)
    paths = [path for path, layers in lists.items() if len(layers) == longest]
    # A list inside a layer of another list is the one that holds the layers proper.
    paths = [p for p in paths if not any(other.startswith(f"{p}.") for other in paths)]
    if not paths:
        raise _unknown(model, "no q, k, v linears are recognised")
    if len(paths) > 1:
        raise _unknown(model, f"there are several stacks of layers ({', '.join(paths)})")
    blocks = _attention_blocks(lists[paths[0]][0], fused)
    if len(blocks) > 1:
        raise _unknown(model, "a layer holds several attention blocks")
    _check_no_parallel_lists(model, paths[0])
    for layer in lists[paths[0]] if rows else ():
        _, size = features(layer.get_submodule(blocks[0]["q"]))
        if not covers(rows, size):
            raise UserError(
                f"{type(model).__name__}: {fused} has {size} rows, which the heads and sizes in "
                "config.json do not divide into q, k and v; fetch it again, or use another model"
            )
    return Stack(paths[0], lists[paths[0]], blocks[0], rows)


def declared_stack(model: nn.Module, declared: Mapping[str, str]) -> Stack:
    """The stack that params.yaml declares by `layers`, `q`, `k`, `v`.

    Raises:
        UserError: A key is missing or unknown, or a path leads to no list of layers or no linear.
    """
    keys = ("layers", *PROJECTIONS)
    if set(declared) != set(keys):
        raise UserError(
            f"sites: the keys must be {', '.join(keys)}, not "
            f"{', '.join(sorted(declared)) or 'none'}"
        )
    path = declared["layers"]
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential) and len(module)
    }
    if path not in lists:
        raise _no_such_path("layers", path, "list of layers", list(lists))
    projections = {term: declared[term] for term in PROJECTIONS}
    for layer in lists[path]:
        linears = [name for name, module in layer.named_modules() if is_linear(module)]
        for term, name in projections.items():
            if name not in linears:
                raise _no_such_path(term, name, f"linear in a layer of {path}", linears)
    if len(set(projections.values())) < len(projections):
        raise UserError(
            "sites: q, k and v must be three different linears; one fused linear cannot be declared"
        )
    return Stack(path, tuple(lists[path]), projections)


def _attention_blocks(layer: nn.Module, fused: str = "") -> list[dict[str, str]]:
    """For each module that holds q, k, v linears: term -> path relative to the layer.

    Where a family fuses the three, that is one linear, of the name `fused`.
    """
    blocks = []
    for path, module in layer.named_modules():
        if fused:
            if path.rpartition(".")[2] == fused and is_linear(module):
                blocks.append(dict.fromkeys(PROJECTIONS, path))
            continue
        for names in _PROJECTION_NAMES:
            if all(is_linear(getattr(module, name, None)) for name in names):
                paths = [f"{path}.{name}".lstrip(".") for name in names]
                blocks.append(dict(zip(PROJECTIONS, paths, strict=True)))
    return blocks


def _lists_of_equals(model: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len({type(layer) for layer in module}) == 1:
            yield path, module


def _check_no_parallel_lists(model: nn.Module, path: str) -> None:
    """Layers spread over several lists would hide part of their biases from us."""
    parent = path.rpartition(".")[0]
    layers = model.get_submodule(path)
    assert isinstance(layers, nn.ModuleList)
    for name, module in model.get_submodule(parent).named_children():
        other = f"{parent}.{name}".lstrip(".")
        if other != path and isinstance(module, nn.ModuleList) and len(module) == len(layers) > 1:
            raise UserError(
                f"{type(model).__name__} spreads a layer over the lists {path} and {other}: "
                "models with one list of whole layers are supported"
            )


def _no_such_path(key: str, path: str, kind: str, valid: list[str]) -> UserError:
    near = difflib.get_close_matches(path, valid, n=1, cutoff=0.0)
    hint = f"the nearest is '{near[0]}'" if near else "there is none at all"
    return UserError(f"sites.{key}: '{path}' is no {kind}; {hint}")


def _unknown(model: nn.Module, reason: str) -> UserError:
    """The error that shows one attention block and the lines that would declare its sites."""
    text = f"{type(model).__name__}: {reason}; declare its sites in params.yaml"
    lists = [
        (len(layers), path, layers[0])
        for path, layers in _lists_of_equals(model)
        if sum(map(is_linear, layers[0].modules())) > 1
    ]
    if not lists:
        return UserError(
            f"{type(model).__name__}: {reason}, and no list of equal layers; use another model"
        )
    _, path, layer = max(lists, key=lambda item: item[0])
    block, linears = _likely_attention(layer)
    sizes = {name: features(layer.get_submodule(name)) for name in linears}
    fused = [n for n, (there, out) in sizes.items() if out == 3 * there or "qkv" in n.lower()]
    if block and fused:
        return UserError(
            f"{type(model).__name__}: {reason}: {path}.0.{fused[0]} seems to compute all three, "
            "and such a linear is taken apart in some families only, of which this is none; use "
            "another model"
        )
    if len(linears) < len(PROJECTIONS):
        return UserError(
            f"{type(model).__name__}: {reason}: {path}.0 has only the linears "
            f"{', '.join(linears)} in its {block or 'layer'}, and q, k and v have to be three; use "
            "another model"
        )
    rows = [f"  {name}  {size}" for name, size in sizes.items()]
    guesses = _likely_projections(linears)
    return UserError(
        text,
        [
            f"linear layers of {path}.0 in {block or 'the whole layer'} (in, out):",
            *rows,
            "lines for params.yaml, under the model's name (check which are q, k and v):",
            "  sites:",
            f"    layers: {path}",
            *(f"    {term}: {guess}" for term, guess in guesses.items()),
        ],
    )


def _likely_attention(layer: nn.Module) -> tuple[str, list[str]]:
    """The module whose name says attention, or else the whole layer, and the linears in it."""
    linears = [name for name, module in layer.named_modules() if is_linear(module)]
    for path, _ in layer.named_modules():
        inside = [name for name in linears if under(name, path)]
        if "att" in path.rpartition(".")[2].lower() and inside:
            return path, inside
    return "", linears


def _likely_projections(linears: list[str]) -> dict[str, str]:
    """q, k and v by their letter in the linear's name, else by order, else left to the reader."""
    names = {path: path.rpartition(".")[2].lower() for path in linears}
    by_letter = {t: [path for path, name in names.items() if t in name] for t in PROJECTIONS}
    if all(len(paths) == 1 for paths in by_letter.values()):
        guesses = {term: paths[0] for term, paths in by_letter.items()}
    else:
        guesses = dict(zip(PROJECTIONS, linears, strict=False))
    if len(linears) > len(PROJECTIONS) and len(set(guesses.values())) == len(PROJECTIONS):
        return guesses
    return {term: f"<path of {term}>" for term in PROJECTIONS}
