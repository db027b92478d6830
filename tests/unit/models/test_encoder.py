"""Loading a checkpoint: what is trained as its head, and one clear line for each broken one."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BartConfig,
    MBartConfig,
    MT5Config,
    PreTrainedTokenizerFast,
    T5Config,
)

from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import Encoder, init_head, load_encoder
from beft.models.sites import read_biases

MIRROR = Path(os.environ.get("BEFT_MIRROR") or Path(__file__).parents[4] / "shared" / "mirror")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[[str], Path]:
    """A pristine checkpoint of an architecture, built once."""
    made = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            made[architecture] = tiny.checkpoint(architecture, folder)
        return made[architecture]

    return make


@pytest.fixture
def bert(checkpoint, tmp_path) -> Path:
    """A copy of the BERT checkpoint that a test may damage."""
    return Path(shutil.copytree(checkpoint("bert"), tmp_path / "bert"))


def edit_weights(folder: Path, edit: Callable[[dict], dict]) -> None:
    file = folder / "model.safetensors"
    save_file(edit(load_file(file)), file, metadata={"format": "pt"})


def edit_json(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


LINEAR = ("classifier.weight", "classifier.bias")
TWO_LAYERS = (
    "classifier.dense.weight",
    "classifier.dense.bias",
    "classifier.out_proj.weight",
    "classifier.out_proj.bias",
)
# What each bare checkpoint lacks for classification, and the pooler's bias where it has a pooler.
HEADS = {
    "bert": ("bert.pooler.dense.bias", *LINEAR),
    "roberta": TWO_LAYERS,
    "xlm-roberta": TWO_LAYERS,
    "camembert": TWO_LAYERS,
    "electra": TWO_LAYERS,
    "distilbert": ("pre_classifier.weight", "pre_classifier.bias", *LINEAR),
    "deberta-v2": ("pooler.dense.weight", "pooler.dense.bias", *LINEAR),
    "deberta-v3": ("pooler.dense.weight", "pooler.dense.bias", *LINEAR),
    "mpnet": TWO_LAYERS,
    "opt": ("score.weight",),
    "modernbert": ("head.dense.weight", "head.norm.weight", *LINEAR),
}


@pytest.mark.parametrize("architecture", HEADS)
def test_each_architecture_loads_with_its_head(checkpoint, architecture):
    encoder = load_encoder(checkpoint(architecture), 3)
    assert encoder.head == HEADS[architecture]
    # BERT's pooler came from the checkpoint: it is trained along, not drawn.
    assert set(encoder.head) - set(encoder.fresh) == {"bert.pooler.dense.bias"} & set(encoder.head)
    assert not encoder.model.training
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}
    batch = encoder.tokenizer(
        ["the film is good", "bad"], ["a dog runs", "it"], padding=True, return_tensors="pt"
    )
    logits = encoder.model(**batch).logits
    assert logits.shape == (2, 3) and torch.isfinite(logits).all()


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "deberta-v3"])
def test_the_encoder_holds_the_checkpoints_weights(checkpoint, architecture):
    folder = checkpoint(architecture)
    stored = load_file(folder / "model.safetensors")
    encoder = load_encoder(folder, 2)
    for term, values in read_biases(encoder.model, encoder.sites).items():
        for site, row in zip(encoder.sites.of(term), values, strict=True):
            # The bare encoder's file has the names without the classifier's prefix.
            assert torch.equal(row, stored[site.parameter.partition(".")[2]])


def test_a_masked_language_model_has_no_pooler_so_the_whole_pooler_is_head(tmp_path):
    folder = tiny.checkpoint("bert", tmp_path, auto=AutoModelForMaskedLM)
    encoder = load_encoder(folder, 2)
    pooler = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    assert encoder.head == encoder.fresh == (*pooler, *LINEAR)


@pytest.mark.parametrize(("labels", "fresh"), [(2, ()), (3, LINEAR)])
def test_a_tuned_classifier_is_trained_on_where_it_fits_else_drawn(tmp_path, labels, fresh):
    auto = AutoModelForSequenceClassification
    folder = tiny.checkpoint("bert", tmp_path, auto=auto, num_labels=2)
    encoder = load_encoder(folder, labels)
    assert encoder.head == HEADS["bert"] and encoder.fresh == fresh
    stored = load_file(folder / "model.safetensors")["classifier.weight"]
    kept = encoder.model.classifier.weight
    assert torch.equal(kept, stored) if labels == 2 else kept.shape == (3, tiny.WIDTH)


def test_half_precision_and_sharded_files_load_as_float32(bert):
    whole = load_encoder(bert, 2)
    edit_weights(bert, lambda w: {k: v.to(torch.float16) for k, v in w.items()})
    edit_json(bert / "config.json", dtype="float16")
    encoder = load_encoder(bert, 2)
    weight = encoder.model.bert.pooler.dense.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, whole.model.bert.pooler.dense.weight.half().float())
    encoder.model.bert.save_pretrained(bert, max_shard_size="20KB")
    (bert / "model.safetensors").unlink(missing_ok=True)
    assert len(list(bert.glob("model-*.safetensors"))) > 1
    assert torch.equal(load_encoder(bert, 2).model.bert.pooler.dense.weight, weight)


def test_one_label_is_a_regression_whatever_the_checkpoint_was_tuned_for(bert):
    edit_json(bert / "config.json", problem_type="multi_label_classification")
    assert load_encoder(bert, 1).model.config.problem_type == "regression"
    encoder = load_encoder(bert, 2)
    assert encoder.model.config.problem_type == "single_label_classification"


def dropouts(encoder: Encoder) -> set[float]:
    return {m.p for m in encoder.model.modules() if isinstance(m, torch.nn.Dropout)}


@pytest.mark.parametrize("architecture", HEADS)
def test_dropout_is_the_checkpoints_own_or_the_one_asked_for(checkpoint, architecture):
    batch = {"input_ids": torch.tensor([[2, 40, 75, 81, 77, 3]])}

    def moves(dropout: float | None) -> bool:
        encoder = load_encoder(checkpoint(architecture), 2, dropout=dropout)
        assert dropout is None or dropouts(encoder) <= {dropout}
        encoder.model.train()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            first, second = (encoder.model(**batch).logits for _ in range(2))
        return not torch.equal(first, second)

    assert moves(None) and moves(0.5) and not moves(0.0)


def state(encoder: Encoder, names: tuple[str, ...]) -> list[torch.Tensor]:
    return [encoder.model.get_parameter(name).detach().clone() for name in names]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_head_depends_on_the_seed_alone(checkpoint):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = load_encoder(checkpoint("bert"), 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = load_encoder(checkpoint("bert"), 2)
    assert same(state(one, one.head), state(other, other.head))
    others = [n for n, _ in one.model.named_parameters() if n not in one.fresh]
    rest, first = state(one, tuple(others)), state(one, one.fresh)
    init_head(one, seed=7)
    torch.rand(3)
    init_head(other, seed=7)
    assert same(state(one, one.fresh), state(other, other.fresh))
    assert not same(state(one, one.fresh), first)
    assert same(state(one, tuple(others)), rest)  # the pooler's bias among them
    init_head(one, seed=0)
    assert same(state(one, one.fresh), first)


def test_the_head_is_drawn_as_the_architecture_draws_it(tmp_path):
    folder = tiny.checkpoint("roberta", tmp_path, hidden_size=128, initializer_range=0.05)
    encoder = load_encoder(folder, 2)
    init_head(encoder, seed=3)
    dense = encoder.model.classifier.dense
    # 16,384 draws: mean and deviation lie within 5 standard errors (0.05/128, 0.05/181).
    assert abs(dense.weight.mean().item()) < 0.002
    assert abs(dense.weight.std().item() - 0.05) < 0.0014
    assert dense.bias.abs().max() == 0 and encoder.model.classifier.out_proj.bias.abs().max() == 0


DRAW = """
import sys, pathlib, hashlib
from beft.models.encoder import init_head, load_encoder
encoder = load_encoder(pathlib.Path(sys.argv[1]), 2)
init_head(encoder, seed=5)
values = encoder.model.classifier.weight.detach().numpy()
sys.stdout.write(hashlib.sha256(values.tobytes()).hexdigest())
"""


def test_the_head_is_the_same_on_a_processor_without_vector_instructions(checkpoint):
    # torch draws float32 normals by another algorithm where it has AVX2; this switches that off.
    encoder = load_encoder(checkpoint("bert"), 2)
    init_head(encoder, seed=5)
    here = encoder.model.classifier.weight.detach().numpy().tobytes()
    plain = subprocess.run(
        [sys.executable, "-c", DRAW, str(checkpoint("bert"))],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout == hashlib.sha256(here).hexdigest()


def test_fresh_norms_start_at_one(checkpoint):
    encoder = load_encoder(checkpoint("bert"), 2)
    encoder.model.add_module("norm", torch.nn.LayerNorm(4))
    encoder.model.norm.weight.data.fill_(5.0)
    encoder = dataclasses.replace(encoder, fresh=(*encoder.fresh, "norm.weight"))
    init_head(encoder, seed=0)
    assert encoder.model.norm.weight.tolist() == [1.0] * 4


@pytest.mark.parametrize("propagate", [True, False])
def test_loading_says_nothing_above_debug(checkpoint, caplog, capfd, monkeypatch, propagate):
    # transformers hands its records to the root logger where the variable CI is set.
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", propagate)
    folder = checkpoint("roberta")
    capfd.readouterr()  # what making it has shown
    with caplog.at_level(logging.DEBUG, logger="beft"):
        load_encoder(folder, 2)
    assert {r.levelno for r in caplog.records} == {logging.DEBUG}
    assert any("classifier.dense.weight" in r.getMessage() for r in caplog.records)
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err == ""
    assert logging.getLogger("transformers").handlers
    assert logging.getLogger("transformers").propagate is propagate


def test_sdpa_where_the_architecture_has_it(checkpoint):
    used = {a: load_encoder(checkpoint(a), 2).model.config._attn_implementation for a in HEADS}
    assert used["bert"] == used["distilbert"] == "sdpa"
    assert used["deberta-v3"] == "eager"


def test_declared_sites_reach_the_search(checkpoint):
    with pytest.raises(UserError, match=r"'mini'.*sites.q.*attention.self.query"):
        load_encoder(
            checkpoint("bert"),
            2,
            name="mini",
            sites={
                "layers": "bert.encoder.layer",
                "q": "attention.self.quer",
                "k": "attention.self.key",
                "v": "attention.self.value",
            },
        )


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_layer(folder: Path) -> None:
    edit_weights(folder, lambda w: {k: v for k, v in w.items() if "layer.1.attention" not in k})


def lose_an_embedding(folder: Path) -> None:
    edit_weights(folder, lambda w: {k: v for k, v in w.items() if "word_embeddings" not in k})


def lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def no_padding(folder: Path) -> None:
    tokenizer: PreTrainedTokenizerFast = tiny.tokenizer(pad=False)
    tokenizer.save_pretrained(folder)


def other_tokenizer(folder: Path) -> None:
    tiny.tokenizer(words=[f"word{i}" for i in range(300)]).save_pretrained(folder)


def config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / "config.json", **changes)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
BROKEN = {
    "no directory": (shutil.rmtree, "there is no such directory"),
    "no config": (remove("config.json"), r"no config.json.*holds model.safetensors"),
    "config cut off": (write("config.json", '{"model_type": "be'), "config.json is corrupt"),
    "config no mapping": (write("config.json", "[1]"), "config.json is corrupt"),
    "config binary": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "json is corrupt"),
    "config without type": (config(model_type=None), "config.json has no 'model_type'"),
    "config of unknown type": (config(model_type="nope"), r"config.json is not usable.*nope"),
    "config wrong type": (config(hidden_size="wide"), r"config.json is not usable.*hidden_size"),
    "config impossible": (config(num_attention_heads=3), r"do not load.*multiple"),
    "no such head": (config(model_type="vit"), "'vit' has no sequence classification head"),
    "no weights": (remove("model.safetensors"), r"no weights.*holds config.json, tokenizer"),
    "pickled weights": (only_pickled, r"pickled \(pytorch_model.bin\).*beft.data.mirror.unpickle"),
    "truncated weights": (truncate, r"model.safetensors is truncated or corrupt \(\d+ bytes"),
    "empty weights": (write("model.safetensors", ""), "truncated or corrupt"),
    "pointer, not weights": (write("model.safetensors", LFS), "truncated or corrupt"),
    "a shard missing": (lose_a_shard, "names model-00001-of-00002.safetensors, which is missing"),
    "a layer missing": (lose_a_layer, r"lacks 10 weights of the model.*layer.1.attention"),
    "an embedding missing": (lose_an_embedding, "lacks 1 weights.*word_embeddings"),
    "more layers than weights": (config(num_hidden_layers=3), r"lacks 16 weights.*layer\.2"),
    "other width": (config(intermediate_size=20), r"do not fit config.json.*\(24.*\(20"),
    "no tokenizer": (remove("tokenizer.json"), "tokenizer is missing"),
    "tokenizer corrupt": (write("tokenizer.json", '{"model": 1}'), "tokenizer is not usable"),
    "tokenizer cut off": (write("tokenizer.json", '{"mod'), "tokenizer is not usable"),
    "no padding token": (no_padding, "has no padding token"),
    "another model's tokenizer": (other_tokenizer, "use the tokenizer that belongs to it"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_checkpoint_is_one_clear_line(bert, case):
    damage, message = BROKEN[case]
    damage(bert)
    with pytest.raises(UserError, match=message) as error:
        load_encoder(bert, 2, name="mini")
    assert "'mini'" in str(error.value) and str(bert) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("architecture", "fused"),
    [("gpt2", True), ("phi3", True), ("llama", False), ("mistral", False), ("qwen3", False)],
)
def test_a_decoder_with_a_classification_head_has_sites_too(tmp_path, architecture, fused):
    """Fused projections, and projections without biases, which get zeros; as in `load_decoder`."""
    folder = tiny.decoder_checkpoint(architecture, tmp_path)
    encoder = load_encoder(folder, 2)
    assert encoder.sites.fused is fused
    assert bool(encoder.added) is (architecture != "gpt2")
    assert all(not encoder.model.get_parameter(name).any() for name in encoder.added)
    auto = AutoModelForSequenceClassification
    plain = auto.from_pretrained(folder, num_labels=2, dtype=torch.float32).eval()
    plain.score.load_state_dict(encoder.model.score.state_dict())
    plain.config.pad_token_id = encoder.tokenizer.pad_token_id
    batch = encoder.tokenizer(["the film is good", "bad"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = encoder.model(**batch).logits
        torch.testing.assert_close(logits, plain(**batch).logits)
        for row, text in enumerate(["the film is good", "bad"]):  # the last real token is read
            alone = encoder.model(**encoder.tokenizer([text], return_tensors="pt")).logits
            torch.testing.assert_close(alone[0], logits[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["modernbert", "modernbert-biases"])
def test_added_biases_leave_modernberts_logits_as_they_are(tmp_path, architecture):
    """Against transformers' own class, on texts longer than its local attention sees."""
    folder = tiny.checkpoint(architecture, tmp_path, auto=AutoModelForSequenceClassification)
    encoder = load_encoder(folder, 2)
    assert encoder.sites.fused and bool(encoder.added) is (architecture == "modernbert")
    assert set("qkv") <= set(encoder.sites.terms)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = ["the film is good " * 8, "bad", "a dog sleeps"]
    batch = encoder.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(encoder.model(**batch).logits, plain(**batch).logits)


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (T5Config, {}),
        (T5Config, {"is_encoder_decoder": False}),  # as T5EncoderModel saves it
        (MT5Config, {}),
        (BartConfig, {}),
        (MBartConfig, {}),
    ],
)
@pytest.mark.parametrize("load", [lambda path: load_encoder(path, 2), load_decoder])
def test_encoder_decoders_are_refused_as_such(tmp_path, config, changes, load):
    tiny.checkpoint("bert", tmp_path)
    config(vocab_size=200, num_layers=1, **changes).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="encoder-decoders are not supported") as error:
        load(tmp_path)
    assert "sites" not in str(error.value)


def test_no_labels_are_refused(checkpoint):
    with pytest.raises(UserError, match="num_labels"):
        load_encoder(checkpoint("bert"), 0)


@pytest.mark.mirror
def test_the_real_model_loads():
    folder = MIRROR / "models" / "sentence-transformers" / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        pytest.skip("the mirror does not hold all-MiniLM-L6-v2")
    encoder = load_encoder(folder, 2)
    biases = read_biases(encoder.model, encoder.sites)
    assert biases["v"].shape == (6, 384) and biases["intermediate"].shape == (6, 1536)
    assert set(encoder.head) == {"classifier.weight", "classifier.bias", "bert.pooler.dense.bias"}
    assert set(encoder.fresh) == {"classifier.weight", "classifier.bias"}
    stored = load_file(folder / "model.safetensors")
    last = stored["encoder.layer.5.attention.self.value.bias"].float()
    assert torch.equal(biases["v"][5], last)
    batch = encoder.tokenizer(["a fine film", "dull"], padding=True, return_tensors="pt")
    assert encoder.model(**batch).logits.shape == (2, 2)
