"""Loading a decoder: the checkpoint's own logits, its padding, one clear line for each error."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny
from transformers import AutoModelForCausalLM, AutoTokenizer, BartConfig, ViTConfig

from beft.errors import UserError
from beft.models.decoder import Decoder, load_decoder
from beft.models.encoder import load_encoder
from beft.models.sites import read_biases

MIRROR = Path(os.environ.get("BEFT_MIRROR") or Path(__file__).parents[4] / "shared" / "mirror")
IDS = torch.tensor([[2, 55, 314, 340, 341, 300]])


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


@pytest.fixture
def llama(folder, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(folder("llama"), tmp_path / "llama"))


def edit_json(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def edit_weights(folder: Path, keep: Callable[[str], bool]) -> None:
    file = folder / "model.safetensors"
    weights = {key: value for key, value in load_file(file).items() if keep(key)}
    save_file(weights, file, metadata={"format": "pt"})


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def untouched(folder: Path, decoder: Decoder, dtype: torch.dtype) -> torch.nn.Module:
    """The same checkpoint as transformers alone loads it."""
    way = decoder.model.config._attn_implementation
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=way)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", tiny.DECODERS)
def test_logits_are_those_of_the_checkpoint_to_the_bit(folder, architecture, dtype):
    decoder = load_decoder(folder(architecture), dtype=dtype)
    expected = logits(untouched(folder(architecture), decoder, dtype).eval())
    assert torch.equal(logits(decoder.model), expected) and expected.std() > 0.01
    assert {p.dtype for p in decoder.model.parameters()} == {dtype}
    assert not decoder.model.training and decoder.head == decoder.fresh == ()


def test_sdpa_where_the_architecture_has_it(folder):
    used = {a: load_decoder(folder(a)).model.config._attn_implementation for a in tiny.DECODERS}
    without = {"gpt_neo", "gptj", "gemma2", "bloom", "mpt"}
    assert used == {a: "eager" if a in without else "sdpa" for a in tiny.DECODERS}


def test_the_random_state_is_the_callers(folder):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    load_decoder(folder("llama"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "phi", "falcon"])
def test_dropout_is_the_one_asked_for(tmp_path, architecture):
    names = {"opt": "dropout", "gpt2": "resid_pdrop", "phi": "resid_pdrop"}
    own = {names.get(architecture, "hidden_dropout"): 0.5}
    folder = tiny.decoder_checkpoint(architecture, tmp_path, **own)

    def moves(dropout: float | None) -> bool:
        model = load_decoder(folder, dropout=dropout).model.train()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return not torch.equal(logits(model), logits(model))

    assert moves(None) and moves(0.3) and not moves(0.0)


@pytest.mark.parametrize(
    ("changes", "pad"), [({}, "</s>"), ({"eos_token": None}, "<pad>")], ids=["eos", "token 0"]
)
def test_padding_where_the_tokenizer_names_none(tmp_path, changes, pad):
    folder = tiny.decoder_checkpoint("llama", tmp_path, pad=False)
    edit_json(folder / "tokenizer_config.json", **changes)
    plain = AutoTokenizer.from_pretrained(folder)
    tokenizer = load_decoder(folder).tokenizer
    assert plain.pad_token is None and tokenizer.pad_token == pad
    text = "the film is good\n\nIt was great."
    assert tokenizer(text).input_ids == plain(text).input_ids


def test_a_text_comes_back_from_the_tiny_tokenizer(folder):
    tokenizer = load_decoder(folder("opt")).tokenizer
    text = "A film, isn't it?\nIt was great\n\n42"
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    for word in (" It", " was", " great", " terrible", " true", " false", "\n"):
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_a_head_of_its_own_is_loaded_and_a_tied_one_not_missed(folder, tmp_path):
    tied = load_decoder(folder("opt")).model
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    own = tiny.decoder_checkpoint("opt", tmp_path / "own", tie_word_embeddings=False)
    decoder = load_decoder(own)
    stored = load_file(own / "model.safetensors")["lm_head.weight"]
    assert torch.equal(decoder.model.lm_head.weight, stored)
    edit_weights(own, lambda key: key != "lm_head.weight")
    with pytest.raises(UserError, match="lacks 1 weights of the model, such as lm_head.weight"):
        load_decoder(own)


def test_declared_sites_are_used(folder):
    declared = {"layers": "model.layers"}
    declared |= {t: f"self_attn.{t}_proj" for t in "qkv"}
    assert load_decoder(folder("llama"), sites=declared).added
    with pytest.raises(UserError, match=r"'mini'.*sites.v: 'self_attn.value' .*v_proj"):
        load_decoder(folder("llama"), sites=declared | {"v": "self_attn.value"}, name="mini")


def test_a_causal_model_of_a_family_of_encoders_is_taken(tmp_path):
    folder = tiny.checkpoint("bert", tmp_path, auto=AutoModelForCausalLM, is_decoder=True)
    model = load_decoder(folder).model
    with torch.no_grad():
        first, second = (model(torch.tensor([[2, 40, 75, last]])).logits for last in (81, 77))
    assert torch.equal(first[:, :3], second[:, :3])  # it reads from left to right only
    assert not torch.equal(first[:, 3], second[:, 3])


def test_projection_modules_of_an_encoder(tmp_path):
    sites = load_encoder(tiny.checkpoint("bert", tmp_path), 2).sites
    stem = "bert.encoder.layer.1.attention.self"
    assert {term: sites.of(term)[1].module for term in ("q", "k", "v")} == {
        "q": f"{stem}.query",
        "k": f"{stem}.key",
        "v": f"{stem}.value",
    }


def encoder(folder: Path) -> None:
    tiny.checkpoint("roberta", folder)


def of_config(kind: type) -> Callable[[Path], object]:
    return lambda folder: kind().save_pretrained(folder)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", **changes)


def lose_a_projection(folder: Path) -> None:
    edit_weights(folder, lambda key: "layers.1.self_attn.v_proj" not in key)


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def other_tokenizer(folder: Path) -> None:
    tiny.decoder_tokenizer([f"word{i}" for i in range(300)]).save_pretrained(folder)


BROKEN = {
    "no directory": (shutil.rmtree, "there is no such directory"),
    "an encoder": (encoder, "'roberta' is an encoder, it cannot continue a prompt; use a decoder"),
    "encoder and decoder": (of_config(BartConfig), "'bart' is an encoder-decoder, and encoder-"),
    "no language model": (of_config(ViTConfig), "'vit' is no causal language model"),
    "unknown architecture": (config(model_type="nope"), r"config.json is not usable.*nope"),
    "no attention": (config(model_type="mamba"), r"lacks \d+ weights of the model"),
    "a projection missing": (lose_a_projection, r"lacks 1 weights.*layers\.1\.self_attn\.v_proj"),
    "more layers than weights": (config(num_hidden_layers=3), r"lacks 9 weights.*layers\.2"),
    "other width": (config(intermediate_size=20), r"do not fit config.json.*\(16, 24.*\(16, 20"),
    "pickled weights": (only_pickled, r"pickled \(pytorch_model.bin\).*beft.data.mirror.unpickle"),
    "truncated weights": (truncate, "model.safetensors is truncated or corrupt"),
    "no tokenizer": (remove("tokenizer.json"), "tokenizer is missing"),
    "another model's tokenizer": (other_tokenizer, "use the tokenizer that belongs to it"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_one_clear_line(llama, case):
    damage, message = BROKEN[case]
    damage(llama)
    with pytest.raises(UserError, match=message) as error:
        load_decoder(llama, name="mini")
    assert "'mini'" in str(error.value) and str(llama) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("name", "terms", "added", "widths"),
    [
        ("local/opt-mini-english", 8, 0, (6, 256, 256)),
        # 8 heads of width 8, 4 of keys and values.
        ("karpathy/stories260K", 3, 15, (5, 64, 32)),
    ],
)
def test_real_decoders_load(name, terms, added, widths):
    folder = MIRROR / "models" / name
    if not folder.is_dir():
        pytest.skip(f"the mirror does not hold {name}")
    decoder = load_decoder(folder)
    assert len(decoder.sites.terms) == terms and len(decoder.added) == added
    biases = read_biases(decoder.model, decoder.sites)
    layers, query, value = widths
    assert biases["q"].shape == (layers, query) and biases["v"].shape == (layers, value)
    ids = decoder.tokenizer("Once upon a time there was a dog.", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = untouched(folder, decoder, torch.float32).eval()(ids).logits
        assert torch.equal(decoder.model(ids).logits, expected)
