"""Which files of a model's folder are read, and one line for each folder that is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny

from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.models.pretrained import check_checkpoint, files_read
from beft.models.sites import read_biases

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def cut(folder: Path, names: tuple[str, str] = SHARDS, twice: int = 0) -> Path:
    """Cuts the weights in two; the second file also has the first `twice` of the first one."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(tensors)
    half = len(keys) // 2
    for name, part in zip(names, (keys[:half], keys[half:] + keys[:twice]), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: tensors[key] for key in part}, folder / name, metadata={"format": "pt"})
    places = dict.fromkeys(keys[:half], names[0]) | dict.fromkeys(keys[half:], names[1])
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


def refused(folder: Path, match: str) -> None:
    """The folder is refused where its files are checked, and so wherever it is loaded."""
    with pytest.raises(UserError, match=match) as error:
        check_checkpoint(folder, "models.m")
    assert str(error.value).startswith("models.m: ") and "\n" not in str(error.value)
    with pytest.raises(UserError, match=match):
        load_encoder(folder, 2)


def values(folder: Path) -> torch.Tensor:
    encoder = load_encoder(folder, 2)
    return read_biases(encoder.model, encoder.sites)["v"]


def test_what_is_read_is_listed(pristine):
    found = check_checkpoint(pristine, "models.m")
    assert [path.name for path in found.weights] == ["model.safetensors"]
    assert set(found.tokenizer) <= {path.name for path in pristine.iterdir()}
    assert set(found.tensors) == set(load_file(pristine / "model.safetensors"))
    with found.view() as shown:
        assert {p.name for p in shown.iterdir()} == {"config.json", *found.tokenizer}
    assert not shown.exists()
    names = {path.name for path in files_read(pristine)}
    assert names == {"config.json", "model.safetensors", *found.tokenizer}


def test_what_lies_beside_a_model_is_not_read(bert):
    expected = values(bert)
    for name in ("README.md", "pytorch_model.bin", "tf_model.h5", "configuration_bert.py"):
        (bert / name).write_bytes(b"nothing that could be read")
    (bert / "onnx").mkdir()
    (bert / "onnx" / "config.json").write_text("{")
    (bert / "generation_config.json").write_text("{")
    (bert / "consolidated.safetensors").write_bytes(b"")
    assert torch.equal(values(bert), expected)


def test_weights_in_parts_are_those_that_the_index_names(bert):
    expected = values(bert)
    assert torch.equal(values(cut(bert)), expected)
    found = check_checkpoint(bert, "models.m")
    assert tuple(path.name for path in found.weights) == SHARDS


@pytest.mark.parametrize(
    "name",
    ["w/part.safetensors", "../part.safetensors", "{tmp}/part.safetensors", "w\\p.safetensors",
     ".safetensors", "part.bin", "", "a\nb.safetensors"],
)  # fmt: skip
def test_an_index_that_names_other_places_is_refused(bert, tmp_path, name):
    cut(bert)
    index = json.loads((bert / INDEX).read_text())
    name = name.replace("{tmp}", str(tmp_path))
    if name and "\n" not in name:
        (bert / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(bert / SHARDS[0], bert / name)
    places = {k: name if v == SHARDS[0] else v for k, v in index["weight_map"].items()}
    (bert / INDEX).write_text(json.dumps({"weight_map": places}))
    refused(bert, rf"{INDEX} names '.*': weights must be safetensors files in the same folder")


@pytest.mark.parametrize("places", [{}, [], None, {"a": 1}, {"a": None}])
def test_an_index_without_a_map_is_refused(bert, places):
    cut(bert)
    (bert / INDEX).write_text(json.dumps({"weight_map": places}))
    refused(bert, f"{INDEX} has no 'weight_map'")


def test_a_part_that_is_missing_is_named(bert):
    (cut(bert) / SHARDS[1]).unlink()
    refused(bert, f"{INDEX} names {SHARDS[1]}, which is missing")


def test_a_weight_in_two_files_is_refused(bert):
    refused(cut(bert, twice=1), f"{SHARDS[0]} and {SHARDS[1]} both hold the weight")


def test_two_sets_of_weights_are_refused(bert):
    shutil.copyfile(bert / "model.safetensors", bert / "whole")
    cut(bert)
    (bert / "whole").rename(bert / "model.safetensors")
    refused(bert, f"two sets of weights: those that {INDEX} names, and model.safetensors")
    (bert / INDEX).unlink()
    refused(bert, f"two sets of weights: model.safetensors, and {SHARDS[0]}")
    for name in SHARDS:
        (bert / name).unlink()
    assert check_checkpoint(bert, "models.m").weights == (bert / "model.safetensors",)
    # An index of one file, as some hubs have it, is no second set.
    (bert / INDEX).write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    assert check_checkpoint(bert, "models.m").weights == (bert / "model.safetensors",)


def test_an_adapter_beside_the_weights_is_refused(bert):
    (bert / "adapter_config.json").write_text("{}")
    refused(bert, r"adapter_config\.json lies beside the weights.*merge_and_unload")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("quantization_config", {"quant_method": "bitsandbytes"}, "quantised weights"),
        ("transformers_weights", "other.safetensors", "weights of another name"),
        ("configuration_files", ["config.4.0.0.json"], "other configurations"),
        ("fusion_config", {"mlp": True}, "layers are not fused"),
    ],
)
def test_what_a_configuration_asks_for_beside_the_weights_is_refused(bert, key, value, words):
    (bert / "evil.py").write_text("raise SystemExit('run')")
    content = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(content | {key: value}))
    refused(bert, rf"config\.json has '{key}': .*{words}")
    (bert / "config.json").write_text(json.dumps(content | {key: None}))
    check_checkpoint(bert, "models.m")


def test_a_tokenizers_own_code_is_refused(bert):
    file = bert / "tokenizer_config.json"
    content = json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    file.write_text(json.dumps(content))
    refused(bert, r"tokenizer_config\.json has 'auto_map'.*code of its own, which is never run")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("hidden_dropout_prob", float("nan"), "is no finite number"),
        ("layer_norm_eps", float("inf"), "is no finite number"),
        ("initializer_range", {"__float__": "NaN"}, "is no finite number"),
        ("num_attention_heads", 0, "whole number of 1 or more, not 0"),
        ("hidden_size", -16, "whole number of 1 or more, not -16"),
        ("vocab_size", 2.5, "whole number of 1 or more, not 2.5"),
        ("num_hidden_layers", 10**9, r"is 1000000000, but the weights have only \d+ tensors"),
        ("num_hidden_layers", 10**30, "more than 64 bits"),
        ("num_labels", 10**9, "from 0 to 100000"),
        ("max_position_embeddings", 10**9, "at most 67108864, not 1000000000"),
        ("hidden_dropout_prob", 1.5, "from 0 to less than 1, not 1.5"),
        ("hidden_dropout_prob", 1.0, "from 0 to less than 1, not 1.0"),
        ("attention_probs_dropout_prob", -0.1, "from 0 to less than 1, not -0.1"),
        ("layer_norm_eps", -1.0, "must not be negative"),
        ("initializer_range", -0.02, "must not be negative"),
    ],
)
def test_a_number_that_cannot_be_is_named(bert, key, value, words):
    content = json.loads((bert / "config.json").read_text()) | {key: value}
    (bert / "config.json").write_text(json.dumps(content))
    refused(bert, rf"config\.json: '{key}' .*{words}")


def test_names_of_labels_are_no_settings(bert):
    content = json.loads((bert / "config.json").read_text())
    content |= {"label2id": {"dropout": 5, "num_layers": 99}, "id2label": {"5": "NaN"}}
    (bert / "config.json").write_text(json.dumps(content))
    check_checkpoint(bert, "models.m")


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\ud800"])
def test_a_configuration_that_json_cannot_read_is_corrupt(bert, content):
    (bert / "config.json").write_bytes(content.encode(errors="surrogatepass"))
    refused(bert, r"config\.json is corrupt")


def test_adapters_of_a_decoder_are_not_applied(tmp_path):
    """The folder holds an adapter's weights alone, without the file that makes PEFT apply them."""
    folder = tiny.decoder_checkpoint("opt", tmp_path)
    ids = torch.tensor([[2, 68, 99]])
    expected = load_decoder(folder).model(ids).logits
    shutil.copyfile(folder / "model.safetensors", folder / "adapter_model.safetensors")
    assert torch.equal(load_decoder(folder).model(ids).logits, expected)
