"""Tensors that cannot be weights, and models that are far larger than their weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny

from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder

BIAS = "encoder.layer.1.attention.self.value.bias"


def change(folder: Path, name: str, value: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | {name: value}, file, metadata={"format": "pt"})


def configure(folder: Path, **values: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize("hollow", [False, True])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_other_types_are_refused(bert, dtype, hollow):
    change(bert, BIAS, torch.ones(tiny.WIDTH).to(dtype))
    with pytest.raises(UserError, match=rf"'{BIAS}', of type \w+, cannot be a weight: use the"):
        load_encoder(bert, 2, hollow=hollow)


@pytest.mark.parametrize("hollow", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_floating_type_is_read(bert, dtype, hollow):
    change(bert, BIAS, torch.ones(tiny.WIDTH).to(dtype))
    bias = load_encoder(bert, 2, hollow=hollow).model.get_parameter(f"bert.{BIAS}")
    assert bias.dtype == torch.float32 and bias.is_meta == hollow
    assert hollow or torch.equal(bias, torch.ones(tiny.WIDTH))


@pytest.mark.parametrize("hollow", [False, True])
@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (float("nan"), torch.float32, "NaN"),
        (float("inf"), torch.float16, "infinite numbers"),
        (float("-inf"), torch.bfloat16, "infinite numbers"),
        (1e300, torch.float64, "infinite numbers"),  # in float32, in which the model computes
    ],
)
def test_numbers_that_are_not_finite_are_named(bert, value, dtype, words, hollow):
    bias = torch.zeros(tiny.WIDTH, dtype=dtype)
    bias[3] = value
    change(bert, BIAS, bias)
    with pytest.raises(UserError, match=rf"model\.safetensors: '{BIAS}'.*it holds {words}"):
        load_encoder(bert, 2, hollow=hollow)


def test_a_decoder_with_nan_is_not_blamed_on_its_architecture(tmp_path):
    folder = tiny.decoder_checkpoint("llama", tmp_path)
    name = "model.layers.0.mlp.down_proj.weight"
    change(folder, name, torch.full((tiny.WIDTH, tiny.INNER), float("nan")))
    with pytest.raises(UserError, match=f"'{name}'.* it holds NaN"):
        load_decoder(folder)


def test_what_the_model_does_not_use_may_be_anything(bert):
    # As old checkpoints have it, and masks of others.
    change(bert, "embeddings.position_ids", torch.arange(512)[None])
    change(bert, "cls.mask", torch.full((4, 4), float("-inf")))
    change(bert, "cls.predictions.bias", torch.zeros(0))
    assert load_encoder(bert, 2).labels == 2


def test_a_hollow_model_has_the_shapes_of_the_loaded_one(pristine):
    hollow, loaded = (load_encoder(pristine, 3, hollow=h) for h in (True, False))
    shapes = [{n: p.shape for n, p in e.model.named_parameters()} for e in (hollow, loaded)]
    assert shapes[0] == shapes[1]
    assert (hollow.head, hollow.fresh, hollow.sites) == (loaded.head, loaded.fresh, loaded.sites)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": 10**12}, r"more than \d+ parameters"),
        ({"hidden_size": 2**20, "intermediate_size": 2**20}, r"more than \d+ parameters"),
        ({"max_position_embeddings": 2**26}, r"more than \d+ (parameters|numbers in buffers)"),
    ],
)
def test_a_model_far_larger_than_its_weights_is_not_built(bert, changes, words):
    configure(bert, **changes)
    with pytest.raises(UserError, match=rf"config\.json asks for {words}, but the weights hold"):
        load_encoder(bert, 2)


def test_modules_are_counted(tmp_path):
    folder = tiny.decoder_checkpoint("gpt_neo", tmp_path)
    configure(folder, attention_types=[[["global"], 10**9]])
    with pytest.raises(UserError, match=r"'attention_types' is 1000000000, but the weights have"):
        load_decoder(folder)
