"""What a checkpoint holds and a model does not use: heads and buffers may be left, nothing else."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny
from transformers import AutoModelForMaskedLM

from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder

WIDTH = tiny.WIDTH


def add(folder, **tensors):
    """Adds tensors to the weights; `__` stands for a dot."""
    path = folder / "model.safetensors"
    more = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    save_file(load_file(path) | more, path, {"format": "pt"})


QUERY = "encoder__layer__0__attention__self__query"


@pytest.mark.parametrize(
    "name",
    [
        "encoder__layer__2__output__dense__bias",  # a layer more than config.json says
        f"{QUERY}__lora_A__default__weight",
        f"bert__{QUERY}__weight_scale",
        "encoder__layer__0__attention__self__distance_embedding__weight",
        "embeddings__extra__weight",
    ],
)
def test_a_part_of_the_model_that_is_not_used_is_refused(bert, name):
    add(bert, **{name: torch.ones(4, WIDTH)})
    with pytest.raises(UserError, match=r"does not use 1 of the checkpoint's tensors.*config.json"):
        load_encoder(bert, 2)


def test_fewer_layers_than_there_are_weights_for_are_refused(bert):
    path = bert / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"does not use .* encoder\.layer\.1"):
        load_encoder(bert, 2)


def test_biases_that_the_configuration_does_not_mention_are_refused(tmp_path):
    """The model with them is another one: setting `attention_bias` loads it."""
    folder = tiny.decoder_checkpoint("llama-biases", tmp_path)
    load_decoder(folder)
    path = folder / "config.json"
    changed = json.loads(path.read_text()) | {"attention_bias": False}
    path.write_text(json.dumps(changed))
    with pytest.raises(UserError, match=r"does not use 8 .*_proj\.bias.*'attention_bias'"):
        load_decoder(folder)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("embeddings__LayerNorm__weight", "embeddings__LayerNorm__gamma"),
        ("embeddings__LayerNorm__bias", "bert__embeddings__LayerNorm__bias"),
    ],
)
def test_two_tensors_for_one_parameter_are_refused(bert, first, second):
    held = load_file(bert / "model.safetensors")
    add(bert, **{second: held[first.replace("__", ".")] * 3})
    with pytest.raises(UserError, match="holds one parameter twice, as .*LayerNorm"):
        load_encoder(bert, 2)


def test_heads_and_buffers_may_be_left(bert, tmp_path):
    """A masked language model's head, a classifier of another size, and masks of old versions."""
    expected = load_encoder(bert, 2).model.bert.state_dict()
    add(
        bert,
        cls__predictions__bias=torch.ones(9),
        qa_outputs__weight=torch.ones(2, WIDTH),
        embeddings__position_ids=torch.arange(8)[None],
        encoder__layer__0__attention__bias=torch.ones(1, 1, 8, 8),
        encoder__layer__0__attention__masked_bias=torch.tensor(-1e4),
        encoder__layer__0__attention__rotary__inv_freq=torch.ones(4),
    )
    found = load_encoder(bert, 2).model.bert.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("architecture", ["bert", "roberta", "electra", "distilbert", "mpnet"])
def test_masked_language_models_load_as_encoders(tmp_path, architecture):
    """As their makers publish them; a pooler or head that only they have is left."""
    folder = tiny.checkpoint(architecture, tmp_path, auto=AutoModelForMaskedLM)
    load_encoder(folder, 2)
