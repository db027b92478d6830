"""Mistakes in a local model: what `beft fetch` says of its files, settings and weights."""

import json
import shutil
from collections.abc import Callable

import torch
from safetensors.torch import load_file, save_file
from support import tiny
from support.planted import TINY, Case, Place, Plant, params, remove, text, then, truncate

WEIGHTS = f"{TINY}/model.safetensors"
PICKLED = then(remove(WEIGHTS), text(f"{TINY}/pytorch_model.bin", b"\x80\x02."))
MODELS = [
    Case(name, plant, "fetch --model tiny", ("models.tiny", *words))
    for name, plant, *words in [
        ("model directory missing", remove(TINY), "not a directory"),
        ("no weights", remove(WEIGHTS), "no weights", "config.json"),
        ("pickled weights", PICKLED, "pickled", "pytorch_model.bin", "unpickle"),
        ("truncated weights", truncate(WEIGHTS), "model.safetensors", "truncated or corrupt"),
        ("weights of no format", text(WEIGHTS, b"nothing"), "model.safetensors", "corrupt"),
        ("no tokenizer", remove(f"{TINY}/tokenizer.json"), "tokenizer is missing"),
        ("no config", remove(f"{TINY}/config.json"), "no config.json"),
        ("config not JSON", text(f"{TINY}/config.json", "{"), "config.json is corrupt"),
        ("config of nothing", text(f"{TINY}/config.json", "{}"), "model_type"),
        ("config not a mapping", text(f"{TINY}/config.json", "[]"), "config.json", "mapping"),
    ]
]


def weight(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Plant:
    """Changes one tensor of the model."""

    def plant(place: Place) -> None:
        file = place.folder / WEIGHTS
        tensors = load_file(file)
        save_file({**tensors, name: change(tensors[name])}, file, metadata={"format": "pt"})

    return plant


def config(**values: object) -> Plant:
    """Sets keys of the model's config.json."""

    def plant(place: Place) -> None:
        file = place.folder / TINY / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return plant


def elsewhere(place: Place) -> None:
    """The weights lie in a sub-folder, to which an index points."""
    parts = place.folder / TINY / "parts"
    parts.mkdir()
    (place.folder / WEIGHTS).rename(parts / "all.safetensors")
    names = load_file(parts / "all.safetensors")
    index = {"weight_map": dict.fromkeys(names, "parts/all.safetensors")}
    (place.folder / TINY / INDEX).write_text(json.dumps(index))


def opt(place: Place) -> None:
    shutil.rmtree(place.folder / TINY)
    tiny.decoder_checkpoint("opt", place.folder / TINY)


INDEX = "model.safetensors.index.json"
BIAS = "encoder.layer.0.attention.self.query.bias"
MODELS += [
    Case(name, plant, command, ("models.tiny", *words))
    for name, plant, command, *words in [
        ("weights elsewhere", elsewhere, "plan", INDEX, "parts/all.safetensors", "same folder"),
        ("weights elsewhere, fetched", elsewhere, "fetch", INDEX, "parts/all.safetensors"),
        ("an adapter", text(f"{TINY}/adapter_config.json", "{}"), "fetch", "merge_and_unload"),
        ("own code", config(auto_map={"AutoModel": "a.B"}), "fetch", "'auto_map'", "never run"),
        ("quantised", config(quantization_config={"load_in_4bit": True}), "fetch", "quantised"),
        ("no heads", config(num_attention_heads=0), "plan", "'num_attention_heads'", "not 0"),
        ("many layers", config(num_hidden_layers=10**9), "fetch", "'num_hidden_layers'"),
        ("heads that do not fit", config(num_attention_heads=3), "fetch", "multiple"),
        ("weights of int8", weight(BIAS, lambda t: t.to(torch.int8)), "fetch", BIAS, "I8"),
        ("weights with NaN", weight(BIAS, lambda t: t / 0 * 0), "fetch", BIAS, "NaN"),
        ("kind: decoder forgotten", opt, "fetch --model tiny", "'opt'", "add 'kind: decoder'"),
    ]
]  # fmt: skip
MODELS.append(
    Case(
        "no room for words",
        params("training", "max_length", to=2),
        "fetch",
        ("models.tiny: tasks.mine: max_length 2", "set 3 or more"),
    )
)
