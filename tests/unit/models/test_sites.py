"""The biases found in each architecture are those of q, k, v and the other roles."""

import pytest
import torch
import yaml
from support import tiny
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BartConfig,
    FlaubertConfig,
    LlamaConfig,
    OpenAIGPTConfig,
    PreTrainedConfig,
)

from beft.errors import UserError
from beft.models.sites import (
    BiasSites,
    Site,
    add_projection_biases,
    find_sites,
    read_biases,
    write_biases,
)

ORDER = (
    "q",
    "k",
    "v",
    "attention_output",
    "attention_norm",
    "intermediate",
    "output",
    "output_norm",
)


def row(layer: str, parts: str, **more: str) -> dict[str, str]:
    """Term -> module, from the path of layer {} and the modules in the order of `ORDER`."""
    return {
        term: f"{layer}.{part}"
        for term, part in {**dict(zip(ORDER, parts.split(), strict=True)), **more}.items()
    }


BERT_PARTS = (
    "attention.self.query attention.self.key attention.self.value attention.output.dense "
    "attention.output.LayerNorm intermediate.dense output.dense output.LayerNorm"
)
DEBERTA_PARTS = (
    "attention.self.query_proj attention.self.key_proj attention.self.value_proj "
    "attention.output.dense attention.output.LayerNorm intermediate.dense output.dense "
    "output.LayerNorm"
)
POSITION_KEY = {"attention_self_pos_key_proj": "attention.self.pos_key_proj"}
POSITION_QUERY = {"attention_self_pos_query_proj": "attention.self.pos_query_proj"}
# The names under which each architecture publishes its parameters, written down by hand.
NAMES = {
    "bert": row("bert.encoder.layer.{}", BERT_PARTS),
    "roberta": row("roberta.encoder.layer.{}", BERT_PARTS),
    "xlm-roberta": row("roberta.encoder.layer.{}", BERT_PARTS),
    "camembert": row("roberta.encoder.layer.{}", BERT_PARTS),
    "electra": row("electra.encoder.layer.{}", BERT_PARTS),
    "distilbert": row(
        "distilbert.transformer.layer.{}",
        "attention.q_lin attention.k_lin attention.v_lin attention.out_lin sa_layer_norm "
        "ffn.lin1 ffn.lin2 output_layer_norm",
    ),
    "deberta-v2": row("deberta.encoder.layer.{}", DEBERTA_PARTS, **POSITION_KEY, **POSITION_QUERY),
    "deberta-v2-c2p": row("deberta.encoder.layer.{}", DEBERTA_PARTS, **POSITION_KEY),
    "deberta-v3": row("deberta.encoder.layer.{}", DEBERTA_PARTS),
    "mpnet": row(
        "mpnet.encoder.layer.{}",
        "attention.attn.q attention.attn.k attention.attn.v attention.attn.o attention.LayerNorm "
        "intermediate.dense output.dense output.LayerNorm",
    ),
    "opt": row(
        "model.decoder.layers.{}",
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj "
        "self_attn_layer_norm fc1 fc2 final_layer_norm",
    ),
}
POST_NORM = [name for name in NAMES if name != "opt"]
# A key bias adds q_i.b to all scores of row i, which softmax ignores. Position-to-content attention
# adds b to keys that meet a query of the *relative position*, which differs along the row.
K_MATTERS = {"deberta-v2", "deberta-v3"}


def classifier(config: PreTrainedConfig) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForSequenceClassification.from_config(config)
    return tiny.randomize(model).double().eval()


@pytest.fixture(scope="module", params=NAMES)
def architecture(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(architecture) -> nn.Module:
    return classifier(tiny.config(architecture))


@pytest.fixture(scope="module")
def sites(model) -> BiasSites:
    return find_sites(model)


class Perturbed:
    """Runs a model before and after a bias changed, and tells how values inside it differ."""

    def __init__(self, model: nn.Module, term: str, sites: BiasSites, layer: int):
        self.model, self.site = model, sites.of(term)[layer]
        self.ids = torch.tensor([[2, 40, 75, 81, 77, 3], [2, 79, 76, 42, 60, 3]])

    def change(self, module: str, side: str, by: torch.Tensor) -> torch.Tensor:
        """How far a module's first input or output moves when `by` is added to the bias."""
        return self._seen(module, side, by) - self._seen(module, side, torch.zeros_like(by))

    def _seen(self, module: str, side: str, by: torch.Tensor) -> torch.Tensor:
        seen = []

        def hook(_, inputs, output):
            value = inputs[0] if side == "input" else output
            seen.append(value[0] if isinstance(value, tuple) else value)

        handle = self.model.get_submodule(module).register_forward_hook(hook)
        bias = self.model.get_parameter(self.site.parameter)
        kept = bias.detach().clone()
        with torch.no_grad():
            bias += by
            logits = self.model(self.ids, attention_mask=torch.ones_like(self.ids)).logits
            bias.copy_(kept)
        handle.remove()
        return seen[0] if module else logits

    def logits(self, by: torch.Tensor) -> torch.Tensor:
        return self.change("", "output", by)


def step(model: nn.Module, site: Site) -> torch.Tensor:
    width = model.get_parameter(site.parameter).numel()
    draw = torch.empty(width, dtype=torch.float64)
    return draw.normal_(generator=torch.Generator().manual_seed(1))


def test_every_term_has_the_published_name(architecture, sites):
    assert sites.num_layers == tiny.LAYERS
    assert sites.terms == tuple(NAMES[architecture])
    for term, module in NAMES[architecture].items():
        expected = [
            Site(term, layer, module.format(layer), f"{module.format(layer)}.bias")
            for layer in range(tiny.LAYERS)
        ]
        assert list(sites.of(term)) == expected


def test_no_bias_inside_the_layers_is_left_out(architecture, model, sites):
    stem = NAMES[architecture]["q"].partition("{}")[0]
    inside = {n for n, _ in model.named_parameters() if n.startswith(stem) and n.endswith("bias")}
    assert {site.parameter for site in sites.sites} == inside


@pytest.mark.parametrize("layer", range(tiny.LAYERS))
def test_v_reaches_the_attention_output_unchanged(model, sites, layer):
    # The weights of attention sum to 1, so adding b to every value adds b to their mean.
    probe = Perturbed(model, "v", sites, layer)
    by = step(model, probe.site)
    moved = probe.change(sites.of("attention_output")[layer].module, "input", by)
    torch.testing.assert_close(moved.reshape(-1, by.numel()), by.expand(12, -1))


@pytest.mark.parametrize("term", ["q", "k", "v"])
def test_projections_feed_the_attention_they_belong_to(model, sites, term):
    probe = Perturbed(model, term, sites, layer=1)
    by = step(model, probe.site)
    moved = probe.change(probe.site.module, "output", by)
    torch.testing.assert_close(moved.reshape(-1, by.numel())[0], by)
    # Layer 1 is not seen by layer 0.
    before = probe.change(sites.of("attention_output")[0].module, "output", by)
    assert before.abs().max() == 0


@pytest.mark.parametrize("layer", range(tiny.LAYERS))
def test_q_matters_and_k_only_to_position_to_content_attention(architecture, model, sites, layer):
    moved = {}
    for term in ("q", "k", "v"):
        probe = Perturbed(model, term, sites, layer)
        moved[term] = probe.logits(step(model, probe.site)).abs().max().item()
    assert moved["q"] > 1e-6 and moved["v"] > 1e-6
    if architecture in K_MATTERS:
        assert moved["k"] > 1e-6
    else:
        assert moved["k"] < 1e-12


@pytest.mark.parametrize(
    ("term", "target", "side"),
    [
        # Each bias is added to what the next role reads; between them lie only residual sums.
        ("attention_output", "attention_norm", "input"),
        ("attention_norm", "intermediate", "input"),
        ("output", "output_norm", "input"),
        ("output_norm", "", "output"),
    ],
)
@pytest.mark.parametrize("name", POST_NORM)
def test_the_other_terms_play_their_roles(name, term, target, side):
    model = classifier(tiny.config(name))
    sites = find_sites(model)
    probe = Perturbed(model, term, sites, layer=1)
    layer = sites.of("q")[1].module.partition(".layer.1")[0] + ".layer.1"
    by = step(model, probe.site)
    moved = probe.change(sites.of(target)[1].module if target else layer, side, by)
    torch.testing.assert_close(moved.reshape(-1, by.numel()), by.expand(12, -1))


def test_the_intermediate_bias_acts_between_its_linear_and_the_output(model, sites):
    probe = Perturbed(model, "intermediate", sites, layer=0)
    by = step(model, probe.site)
    assert by.numel() == tiny.INNER
    assert probe.change(probe.site.module, "input", by).abs().max() == 0
    assert probe.change(sites.of("output")[0].module, "input", by).abs().max() > 1e-3


def test_read_gives_layers_by_width_and_write_restores(model, sites):
    before = read_biases(model, sites)
    assert tuple(before) == sites.terms
    for term, values in before.items():
        width = tiny.INNER if term == "intermediate" else tiny.WIDTH
        assert values.shape == (tiny.LAYERS, width) and values.dtype == torch.float32
    changed = {term: values + 1 for term, values in before.items()}
    write_biases(model, sites, changed)
    assert all(torch.equal(read_biases(model, sites)[t], changed[t]) for t in sites.terms)
    # What was read before is a copy: it did not follow the model.
    write_biases(model, sites, before)
    assert all(torch.equal(read_biases(model, sites)[t], before[t]) for t in sites.terms)


def test_each_layer_gets_its_own_row():
    model = classifier(tiny.config("bert"))
    sites = find_sites(model)
    biases = read_biases(model, sites)
    biases["v"] = torch.arange(tiny.LAYERS)[:, None].expand(-1, tiny.WIDTH).float()
    write_biases(model, sites, biases)
    last = model.get_parameter("bert.encoder.layer.1.attention.self.value.bias")
    assert last.tolist() == [1.0] * tiny.WIDTH


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: {**b, "v": b["v"][:1]}, r"'v' has shape \(1, 16\).*has \(2, 16\)"),
        (lambda b: {**b, "q": b["q"][:, :8]}, r"'q' has shape \(2, 8\)"),
        (lambda b: {t: x for t, x in b.items() if t != "output"}, "another model"),
        (lambda b: {**b, "pos_proj": b["q"]}, "pos_proj"),
    ],
)
def test_a_snapshot_of_another_model_is_refused_whole(damage, message):
    model = classifier(tiny.config("bert"))
    sites = find_sites(model)
    before = read_biases(model, sites)
    other = damage({term: values + 1 for term, values in before.items()})
    with pytest.raises(UserError, match=message):
        write_biases(model, sites, other)
    assert all(torch.equal(read_biases(model, sites)[t], before[t]) for t in sites.terms)


def test_an_unknown_term_is_named():
    sites = find_sites(classifier(tiny.config("bert")))
    with pytest.raises(UserError, match="no bias term 'value'.*q, k, v"):
        sites.of("value")


class Attention(nn.Module):
    def __init__(self, names: str, bias: bool = True):
        super().__init__()
        for name in names.split():
            self.add_module(name, nn.Linear(4, 4, bias=bias))


class Layer(nn.Module):
    def __init__(self, names: str, bias: bool = True, inner: int = 6):
        super().__init__()
        self.attention = Attention(names, bias)
        self.norm1, self.norm2 = nn.LayerNorm(4), nn.LayerNorm(4)
        self.up, self.down = nn.Linear(4, inner), nn.Linear(inner, 4)


class Net(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.block = nn.ModuleList(layers)


UNKNOWN = "wq wk wv wo"
DECLARED = {
    "layers": "encoder.block",
    "q": "attention.wq",
    "k": "attention.wk",
    "v": "attention.wv",
}


def test_an_unknown_architecture_shows_its_linears_and_how_to_declare_them():
    model = Net(Layer(UNKNOWN), Layer(UNKNOWN))
    with pytest.raises(UserError) as error:
        find_sites(model)
    first, *rest = str(error.value).splitlines()
    assert "Net" in first and "params.yaml" in first
    listed = [line.split()[0] for line in rest if "(4, 4)" in line]
    assert listed == [f"attention.{name}" for name in UNKNOWN.split()]
    # The lines can be pasted: what they declare is found.
    lines = "\n".join(rest[rest.index("  sites:") :])
    assert yaml.safe_load(lines) == {"sites": DECLARED}
    found = find_sites(model, yaml.safe_load(lines)["sites"])
    assert found.terms == ORDER
    assert found.of("v")[1].parameter == "encoder.block.1.attention.wv.bias"
    assert found.of("attention_output")[0].module == "encoder.block.0.attention.wo"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": "attention.wqq"}, r"sites.q: 'attention.wqq' .*nearest is 'attention.wq'"),
        ({"v": "attention"}, r"sites.v: 'attention'"),
        ({"k": "norm1"}, r"sites.k: 'norm1'"),
        ({"layers": "encoder.blocks"}, r"sites.layers: .*nearest is 'encoder.block'"),
        ({"layers": "encoder.block.0"}, r"sites.layers"),
        ({"k": "attention.wq"}, "three different linears"),
        ({"w": "attention.wq"}, "keys must be layers, q, k, v"),
    ],
)
def test_a_declared_path_that_does_not_exist_is_named(change, message):
    with pytest.raises(UserError, match=message) as error:
        find_sites(Net(Layer(UNKNOWN), Layer(UNKNOWN)), DECLARED | change)
    assert "\n" not in str(error.value)


def shared() -> nn.Module:
    layer = Layer("q_proj k_proj v_proj o")
    return Net(layer, layer)


SMALL = {"vocab_size": 50, "hidden_size": 8, "num_attention_heads": 2}
BART = {
    f"{side}_{key}": value
    for side in ("encoder", "decoder")
    for key, value in {"layers": 2, "attention_heads": 2, "ffn_dim": 8}.items()
}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Net(Layer("query key value dense", bias=False)), "no bias in its q, k, v"),
        (
            lambda: classifier(
                LlamaConfig(**SMALL, num_hidden_layers=2, intermediate_size=8, pad_token_id=0)
            ),
            "no bias in its q, k, v",
        ),
        (
            lambda: Net(Layer("query key value dense"), Layer("query key value dense", inner=7)),
            "'intermediate' has width 6 in layer 0 and 7 in layer 1",
        ),
        (
            lambda: Net(Layer("query key value dense"), Layer("query key value dense pos")),
            "width none in layer 0 and 4 in layer 1",
        ),
        (shared, "share the weights"),
        (
            lambda: classifier(
                AlbertConfig(**SMALL, num_hidden_layers=3, intermediate_size=8, embedding_size=4)
            ),
            "computes 3 layers but holds 1",
        ),
        (
            lambda: classifier(
                OpenAIGPTConfig(vocab_size=50, n_embd=8, n_layer=2, n_head=2, eos_token_id=1)
            ),
            r"no q, k, v linears.*h.0.attn.c_attn seems to compute all three",
        ),
        (
            lambda: classifier(BartConfig(vocab_size=50, d_model=8, eos_token_id=2, **BART)),
            "several stacks of layers",
        ),
        (
            lambda: classifier(FlaubertConfig(vocab_size=50, emb_dim=8, n_layers=2, n_heads=2)),
            "spreads a layer over the lists",
        ),
        (lambda: nn.Sequential(nn.Linear(4, 4)), "no list of equal layers"),
    ],
)
def test_a_structure_that_is_not_supported_is_a_clear_error(build, message):
    with pytest.raises(UserError, match=message):
        find_sites(build())


def test_square_feed_forward_is_told_by_its_order():
    sites = find_sites(Net(Layer("query key value dense", inner=4)))
    assert sites.of("intermediate")[0].module == "encoder.block.0.up"
    assert sites.of("output")[0].module == "encoder.block.0.down"


def test_projections_directly_in_a_layer_are_found():
    layer = Attention("q_proj k_proj v_proj o")
    layer.up, layer.down = nn.Linear(4, 6), nn.Linear(6, 4)
    sites = find_sites(Net(layer))
    assert sites.terms == ("q", "k", "v", "attention_output", "intermediate", "output")
    assert sites.of("attention_output")[0].parameter == "encoder.block.0.o.bias"


def test_a_projection_of_positions_beside_q_k_v_is_not_the_attention_output():
    sites = find_sites(Net(Layer("query key value pos dense")))
    assert sites.of("attention_output")[0].module == "encoder.block.0.attention.dense"
    assert sites.of("attention_pos")[0].module == "encoder.block.0.attention.pos"
    assert sites.terms[-1] == "attention_pos"


def test_the_norm_inside_attention_is_attentions_though_it_is_registered_last():
    # One layer, so nothing is shared; ALBERT registers the layer's final norm before its attention.
    config = AlbertConfig(**SMALL, num_hidden_layers=1, intermediate_size=12, embedding_size=4)
    sites = find_sites(classifier(config))
    stem = "albert.encoder.albert_layer_groups.0.albert_layers.0"
    names = "attention.query attention.key attention.value attention.dense attention.LayerNorm "
    expected = row(stem, names + "ffn ffn_output full_layer_layer_norm")
    assert {site.term: site.module for site in sites.sites} == expected


def test_biases_are_added_where_the_projections_lack_them():
    model = Net(Layer(UNKNOWN, bias=False))
    model.encoder.block[0].attention.wk = nn.Linear(4, 4)
    added = add_projection_biases(model, DECLARED)
    assert added == tuple(f"encoder.block.0.attention.{name}.bias" for name in ("wq", "wv"))
    assert model.encoder.block[0].attention.wo.bias is None
    assert find_sites(model, DECLARED).of("v")[0].parameter == added[1]


def test_a_projection_that_is_no_plain_linear_gets_no_bias():
    layer = Layer("q_proj k_proj v_proj o", bias=False)
    layer.attention.v_proj = nn.Bilinear(4, 4, 4, bias=False)
    layer.attention.v_proj.weight = nn.Parameter(torch.zeros(4, 4))
    with pytest.raises(UserError, match="attention.v_proj has no bias, and a Bilinear takes none"):
        add_projection_biases(Net(layer))
