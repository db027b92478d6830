"""The q, k and v biases of decoders, added ones too, are what they are called.

What a bias does is seen in the untouched attention modules: in the states that transformers hands
to its attention function, and in what the output projection reads.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import tiny
from torch.nn.functional import linear
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from beft.errors import UserError
from beft.models.decoder import Decoder, load_decoder
from beft.models.sites import read_biases, write_biases
from beft.techniques import TECHNIQUES

IDS = torch.tensor([[2, 55, 314, 340, 341, 300]])
OTHERS = ("attention_output", "attention_norm", "intermediate", "output", "output_norm")
QKV = "self_attn.q_proj self_attn.k_proj self_attn.v_proj"
GPT2 = "attn.c_proj ln_1 mlp.c_fc mlp.c_proj ln_2"
NEOX = "input_layernorm mlp.dense_h_to_4h mlp.dense_4h_to_h post_attention_layernorm"
BLOOM = f"self_attention.dense {NEOX}"
FALCON = "self_attention.dense ln_attn mlp.dense_h_to_4h mlp.dense_4h_to_h ln_mlp"
# Architecture -> path of a layer; modules of q, k, v in it, one where they are fused; modules of
# the other biases in the order of `OTHERS` (- is none) and then those of no such role. By hand.
NAMES = {
    "opt": (
        "model.decoder.layers.{}",
        QKV,
        "self_attn.out_proj self_attn_layer_norm fc1 fc2 final_layer_norm",
    ),
    "gpt2": ("transformer.h.{}", "attn.c_attn", GPT2),
    "gpt_neo": (
        "transformer.h.{}",
        "attn.attention.q_proj attn.attention.k_proj attn.attention.v_proj",
        GPT2.replace("attn.c_proj", "attn.attention.out_proj"),
    ),
    "gptj": (
        "transformer.h.{}",
        "attn.q_proj attn.k_proj attn.v_proj",
        "- - mlp.fc_in mlp.fc_out - ln_1",
    ),
    "gpt_neox": ("gpt_neox.layers.{}", "attention.query_key_value", f"attention.dense {NEOX}"),
    "gpt_neox-without": ("gpt_neox.layers.{}", "attention.query_key_value", f"- {NEOX}"),
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"), ("model.layers.{}", QKV, "")
    ),
    "llama-biases": (
        "model.layers.{}",
        QKV,
        "self_attn.o_proj - - mlp.down_proj - mlp.gate_proj mlp.up_proj",
    ),
    "phi": ("model.layers.{}", QKV, "self_attn.dense - mlp.fc1 mlp.fc2 - input_layernorm"),
    "phi3": ("model.layers.{}", "self_attn.qkv_proj", ""),
    "bloom": ("transformer.h.{}", "self_attention.query_key_value", BLOOM),
    "falcon": ("transformer.h.{}", "self_attention.query_key_value", BLOOM),
    "falcon-one-key": ("transformer.h.{}", "self_attention.query_key_value", BLOOM),
    "falcon-grouped": ("transformer.h.{}", "self_attention.query_key_value", FALCON),
    "gpt_bigcode": ("transformer.h.{}", "attn.c_attn", GPT2),
    "gpt_bigcode-heads": ("transformer.h.{}", "attn.c_attn", GPT2),
    "mpt": ("transformer.blocks.{}", "attn.Wqkv", ""),
}
# The linear that reads the heads' outputs, where it has no bias and so is not in `NAMES`.
OUTPUT = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3"), "self_attn.o_proj"
    ),
    **dict.fromkeys(("gptj", "mpt"), "attn.out_proj"),
    "gpt_neox-without": "attention.dense",
}
# Without biases of q, k and v as published.
WITHOUT = (
    *("gpt_neo", "gptj", "gpt_neox-without", "llama", "mistral", "qwen3", "gemma", "gemma2"),
    *("phi3", "mpt"),
)
# Queries and keys are turned by position: there a key bias is not the same for all keys.
ROTARY = (
    *("gptj", "gpt_neox", "gpt_neox-without", "llama", "llama-biases", "mistral", "qwen2"),
    *("qwen3", "gemma", "gemma2", "phi", "phi3"),
)
# They call their attention through transformers' interface, so that it can be watched.
WATCHED = (
    *("opt", "gpt2", "gpt_neox", "gpt_neox-without", "llama", "llama-biases", "mistral", "qwen2"),
    *("qwen3", "gemma", "gemma2", "phi", "phi3", "gpt_bigcode", "gpt_bigcode-heads"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Callable[[str], Path]:
    """The checkpoint of an architecture, built once."""
    made = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            path = tmp_path_factory.mktemp(architecture)
            made[architecture] = tiny.decoder_checkpoint(architecture, path)
        return made[architecture]

    return make


def double(folder: Path) -> Decoder:
    """In double precision, what should be equal is so to many digits."""
    return load_decoder(folder, dtype=torch.float64)


def logits(decoder: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return decoder.model(IDS, use_cache=False).logits


def move(decoder: Decoder, term: str, layer: int) -> torch.Tensor:
    """Adds a random vector to one term of one layer and returns it."""
    biases = read_biases(decoder.model, decoder.sites)
    start = biases[term][layer].clone()
    biases[term][layer] += torch.randn(len(start), generator=torch.Generator().manual_seed(1))
    write_biases(decoder.model, decoder.sites, biases)
    return biases[term][layer].double() - start.double()


def input_of(decoder: Decoder, module: str) -> torch.Tensor:
    seen = []
    hook = lambda _, args, out: seen.append(args[0].detach())  # noqa: E731
    handle = decoder.model.get_submodule(module).register_forward_hook(hook)
    logits(decoder)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("architecture", NAMES)
def test_every_bias_of_the_layers_has_its_name(folder, architecture):
    decoder = load_decoder(folder(architecture))
    path, projections, others = NAMES[architecture]
    own = projections.split()
    expected = dict(zip("qkv", own * 3 if len(own) == 1 else own, strict=True))
    for place, module in enumerate(others.split()):
        term = OTHERS[place] if place < len(OTHERS) else module.replace(".", "_")
        expected |= {} if module == "-" else {term: module}
    assert decoder.sites.terms == tuple(expected) and decoder.sites.num_layers == tiny.LAYERS
    for term, module in expected.items():
        paths = [f"{path.format(layer)}.{module}" for layer in range(tiny.LAYERS)]
        assert [site.module for site in decoder.sites.of(term)] == paths
    names = {name for name, _ in decoder.model.named_parameters() if name.endswith("bias")}
    inside = {name for name in names if name.startswith(path.partition("{}")[0])}
    assert {site.parameter for site in decoder.sites.sites} == inside


@pytest.mark.parametrize("architecture", NAMES)
def test_only_projections_without_a_bias_get_one(folder, architecture):
    decoder = load_decoder(folder(architecture))
    path, projections, _ = NAMES[architecture]
    assert decoder.added == tuple(
        f"{path.format(layer)}.{module}.bias"
        for layer in range(tiny.LAYERS)
        for module in projections.split()
        if architecture in WITHOUT
    )
    stored = load_file(folder(architecture) / "model.safetensors")
    for name in decoder.added:
        parameter = decoder.model.get_parameter(name)
        assert not parameter.requires_grad and not parameter.any()
        assert not any(name.endswith(key) for key in stored)


@pytest.mark.parametrize("architecture", WITHOUT)
def test_an_added_bias_is_added_to_what_the_weights_project(folder, architecture):
    decoder = load_decoder(folder(architecture))
    site = decoder.sites.of("v")[1]
    module = decoder.model.get_submodule(site.module)
    by = move(decoder, "v", layer=1).float()
    x = torch.randn(module.in_features, generator=torch.Generator().manual_seed(2))
    expected = linear(x, module.weight)
    expected[slice(None) if site.rows is None else torch.as_tensor(site.rows.index())] += by
    torch.testing.assert_close(module(x), expected)


@pytest.mark.parametrize("layer", range(tiny.LAYERS))
@pytest.mark.parametrize("architecture", NAMES)
def test_v_reaches_the_output_projection_in_every_head_that_shares_it(folder, architecture, layer):
    # The weights of attention sum to 1, so adding b to every value adds b to their mean; some
    # models round those weights to float32.
    decoder = double(folder(architecture))
    path, _, others = NAMES[architecture]
    output = f"{path.format(layer)}.{OUTPUT.get(architecture) or others.split()[0]}"
    before = input_of(decoder, output)
    by = move(decoder, "v", layer)
    heads = decoder.model.config.num_attention_heads
    width = before.shape[-1] // heads
    each = by.view(-1, width).repeat_interleave(heads * width // len(by), dim=0).flatten()
    moved = input_of(decoder, output) - before
    torch.testing.assert_close(moved[0], each.expand(IDS.shape[1], -1), atol=1e-6, rtol=0)


@pytest.fixture
def watched() -> list[tuple[torch.Tensor, ...]]:
    """What each layer hands to the attention function named `watched`: query, key, value."""
    states = []

    def watch(module, query, key, value, *args, **kwargs):
        states.append((query, key, value))
        kwargs.pop("softcap", None)  # Gemma 2's, of which this function knows nothing
        return sdpa_attention_forward(module, query, key, value, *args, **kwargs)

    AttentionInterface.register("watched", watch)
    yield states
    AttentionInterface._global_mapping.pop("watched")


@pytest.mark.parametrize("term", ["q", "k", "v"])
@pytest.mark.parametrize("architecture", WATCHED)
def test_a_term_moves_its_own_states_and_no_others(folder, watched, architecture, term):
    decoder = double(folder(architecture))
    decoder.model.set_attn_implementation("watched")
    logits(decoder)
    by = move(decoder, term, layer=1)
    logits(decoder)
    before, after = watched[1], watched[tiny.LAYERS + 1]
    for name, then, now in zip("qkv", before, after, strict=True):
        if name != term:
            assert torch.equal(now, then)
            continue
        # The first token stands at position 0, where rotary positions turn nothing.
        moved = (now - then)[0, :, 0].flatten()
        if architecture == "qwen3" and term != "v":
            assert moved.abs().max() > 1e-3  # a norm of each head comes after the bias
            continue
        # OPT scales its queries before the attention, by the root of the width 8 of a head.
        scale = 8**-0.5 if (architecture, term) == ("opt", "q") else 1.0
        torch.testing.assert_close(moved, by * scale, atol=1e-12, rtol=0)


@pytest.mark.parametrize("term", ["q", "k"])
def test_a_bias_is_added_before_the_norm_of_each_head(folder, term):
    decoder = double(folder("qwen3"))
    norm = f"model.layers.1.self_attn.{term}_norm"
    before = input_of(decoder, norm)
    by = move(decoder, term, layer=1)
    moved = (input_of(decoder, norm) - before).flatten(-2)[0]
    torch.testing.assert_close(moved, by.expand(IDS.shape[1], -1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("architecture", NAMES)
def test_a_key_bias_matters_only_with_rotary_positions(folder, architecture):
    changes = {}
    for term in "qkv":
        decoder = double(folder(architecture))
        before = logits(decoder)
        move(decoder, term, layer=0)
        changes[term] = (logits(decoder) - before).abs().max().item()
    assert changes["q"] > 0.1 and changes["v"] > 0.1
    assert changes["k"] > 0.1 if architecture in ROTARY else changes["k"] < 1e-5


@pytest.mark.parametrize("architecture", NAMES)
def test_biases_are_written_and_read_by_term(folder, architecture):
    decoder = load_decoder(folder(architecture))
    model, sites = decoder.model, decoder.sites
    before = read_biases(model, sites)
    written = {term: torch.full_like(b, i) for i, (term, b) in enumerate(before.items(), start=1)}
    with pytest.raises(UserError, match="'v' has shape"):
        write_biases(model, sites, written | {"v": written["v"][:, 1:]})
    for expected in (before, written):  # the first: a refused snapshot changed nothing
        if expected is written:
            write_biases(model, sites, written)
        found = read_biases(model, sites)
        assert all(torch.equal(found[term], values) for term, values in expected.items())


@pytest.mark.parametrize("architecture", NAMES)
def test_techniques_train_the_rows_of_their_term(folder, architecture):
    decoder = load_decoder(folder(architecture))
    shapes = {name: tuple(p.shape) for name, p in decoder.model.named_parameters()}
    trained = {name: np.zeros(shape[0], dtype=int) for name, shape in shapes.items()}
    counts = {}
    for term in "qkv":
        parts = TECHNIQUES[f"b_{term}"].select(shapes, decoder.sites, 0)
        for part in parts:
            trained[part.parameter][slice(None) if part.index is None else part.index] += 1
        counts[term] = sum(
            shapes[p.parameter][0] if p.index is None else len(p.index) for p in parts
        )
    biases = read_biases(decoder.model, decoder.sites)
    assert counts == {term: biases[term].numel() for term in "qkv"}
    # Together they train each scalar of their biases once.
    for name in {site.parameter for term in "qkv" for site in decoder.sites.of(term)}:
        assert (trained[name] == 1).all()
    scattered = TECHNIQUES["random_uniform"].select(shapes, decoder.sites, 0)
    assert sum(len(part.index) for part in scattered) == counts["v"]


@pytest.mark.parametrize("architecture", ["opt", "gpt_neox", "llama", "phi3"])
def test_projection_modules_are_linears_by_term(folder, architecture):
    decoder = load_decoder(folder(architecture))
    path, projections, _ = NAMES[architecture]
    own = projections.split()
    expected = [[f"{path.format(i)}.{m}" for i in range(tiny.LAYERS)] for m in own]
    found = [[site.module for site in decoder.sites.of(term)] for term in ("q", "k", "v")]
    assert found == (expected if len(own) == 3 else expected * 3)
    assert decoder.sites.fused == (len(own) == 1)
