"""Checkpoints that come with code of their own: never run, and refused unless it is known."""

import json
from pathlib import Path

import pytest
import torch
from support import tiny

from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.models.own_code import check_own_code

EVIL = "raise SystemExit('code of the model was run')"
FALCON = {
    "AutoConfig": "configuration_falcon.FalconConfig",
    "AutoModel": "modeling_falcon.FalconModel",
    "AutoModelForCausalLM": "tiiuae/falcon-7b--modeling_falcon.FalconForCausalLM",
}


def planted(folder: Path, auto_map: object) -> Path:
    """Code beside the weights, and a key that names it."""
    for name in ("evil", "configuration_falcon", "modeling_falcon"):
        (folder / f"{name}.py").write_text(EVIL)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": auto_map}))
    return folder


def test_what_transformers_has_itself_is_loaded_without_the_code(tmp_path):
    folder = tiny.decoder_checkpoint("falcon", tmp_path / "falcon")
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        expected = load_decoder(folder).model(input_ids=tokens).logits
        found = load_decoder(planted(folder, FALCON))
        assert type(found.model).__module__.startswith("transformers.models.falcon")
        assert not hasattr(found.model.config, "auto_map")
        assert torch.equal(found.model(input_ids=tokens).logits, expected)


@pytest.mark.parametrize(
    "auto_map",
    [
        {"AutoModel": "evil.Evil"},
        {"AutoModel": "evil.BertModel", "AutoConfig": "evil.EvilConfig"},
        {"AutoModel": "modeling_bert.JinaBertModel"},  # other positions, the same kind of weights
        {"AutoModel": "evil.BertForMaskedLM"},  # a class of another purpose
        {"AutoModelForCausalLM": "evil.BertModel"},
        {"AutoTokenizer": ["evil.BertTokenizer", None]},
        {"AutoNothing": "evil.BertModel"},
        {"__class__": "evil.BertModel"},
        {"AutoModel": None},
        {"AutoModel": ["evil.BertModel"]},
        {"AutoModel": {}},
        ["evil.BertModel"],
        "evil.BertModel",
        1,
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path, auto_map):
    folder = planted(tiny.checkpoint("bert", tmp_path / "bert"), auto_map)
    with pytest.raises(UserError, match=r"config\.json has 'auto_map': .*never run") as caught:
        load_encoder(folder, 2, name="m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["chatglm", "", None, "bert\nline"])
def test_a_type_that_transformers_does_not_know_is_refused(kind):
    with pytest.raises(UserError, match="never run"):
        check_own_code({"model_type": kind, "auto_map": {"AutoModel": "a.BertModel"}}, "models.m")


@pytest.mark.parametrize("auto_map", [None, {}, [], ""])
def test_without_the_key_there_is_nothing_to_decide(auto_map):
    assert not check_own_code({"model_type": "bert", "auto_map": auto_map}, "models.m")
    assert check_own_code({"model_type": "mpt", "auto_map": {"AutoConfig": "c.MPTConfig"}}, "m")
