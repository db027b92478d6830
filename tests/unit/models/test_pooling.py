"""The head on the mean of the last hidden states: against the bare model and a mean by hand."""

from pathlib import Path

import pytest
import torch
from support import tiny
from transformers import AutoModel

from beft.errors import UserError
from beft.models.encoder import Encoder, init_head, load_encoder
from beft.models.pooling import pool_mean

ARCHITECTURES = [
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"),
    *("deberta-v2", "deberta-v3", "mpnet", "opt", "modernbert", "modernbert-biases"),
]
LINEAR = ("classifier.weight", "classifier.bias")
TEXTS = [["the film is good", "bad"], ["a dog runs and a cat sleeps in the story", "it"]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    made: dict[str, Path] = {}

    def make(architecture: str, **changes: object) -> Path:
        key = f"{architecture}{changes}"
        if key not in made:
            folder = tmp_path_factory.mktemp(architecture)
            made[key] = tiny.checkpoint(architecture, folder, **changes)
        return made[key]

    return make


def pooled(folder: Path, labels: int = 3, **settings) -> Encoder:
    return load_encoder(folder, labels, pooling="mean", **settings)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_a_linear_layer_on_the_mean(checkpoint, architecture):
    folder = checkpoint(architecture)
    encoder, bare = pooled(folder), AutoModel.from_pretrained(folder).eval()
    batch = encoder.tokenizer(*TEXTS, padding=True, return_tensors="pt")
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        hidden = bare(**batch).last_hidden_state.double()
        logits = encoder.model(**batch).logits
    weight, bias = (encoder.model.get_parameter(name).detach().double() for name in LINEAR)
    for row, mask in enumerate(batch["attention_mask"]):
        mean = hidden[row, : int(mask.sum())].mean(0)
        torch.testing.assert_close(logits[row].double(), weight @ mean + bias, rtol=1e-5, atol=1e-5)
    one = {
        name: values[:1, : int(batch["attention_mask"][0].sum())] for name, values in batch.items()
    }
    torch.testing.assert_close(encoder.model(**one).logits[0], logits[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_head_is_one_new_layer_without_a_pooler(checkpoint, architecture):
    encoder = pooled(checkpoint(architecture))
    first = load_encoder(checkpoint(architecture), 3)
    assert encoder.pooling == "mean" and first.pooling == "first"
    assert encoder.head == encoder.fresh == LINEAR
    assert encoder.model.classifier.weight.shape == (3, tiny.WIDTH)
    prefix = f"{encoder.model.base_model_prefix}."
    rest = [name for name, _ in encoder.model.named_parameters() if name not in LINEAR]
    assert rest == [
        name
        for name, _ in first.model.named_parameters()
        if name.startswith(prefix) and "pooler" not in name
    ]
    assert encoder.sites == first.sites
    assert not encoder.model.training and not any(m.training for m in encoder.model.modules())


def test_the_head_depends_on_the_seed_alone(checkpoint):
    one, other = (pooled(checkpoint(name)) for name in ("bert", "electra"))
    for encoder in (one, other):
        init_head(encoder, seed=7)
    assert torch.equal(one.model.classifier.weight, other.model.classifier.weight)
    assert not one.model.classifier.bias.any()
    init_head(other, seed=8)
    assert not torch.equal(one.model.classifier.weight, other.model.classifier.weight)


@pytest.mark.parametrize(
    ("architecture", "changes", "expected"),
    [
        ("bert", {"hidden_dropout_prob": 0.2}, 0.2),
        ("bert", {"hidden_dropout_prob": 0.2, "classifier_dropout": 0.3}, 0.3),
        ("bert", {"hidden_dropout_prob": 0.2, "classifier_dropout": 0.0}, 0.0),
        ("distilbert", {"seq_classif_dropout": 0.4}, 0.4),
        ("deberta-v3", {"hidden_dropout_prob": 0.2}, 0.2),
        ("deberta-v3", {"hidden_dropout_prob": 0.2, "cls_dropout": 0.3}, 0.3),
    ],
)
def test_the_dropout_is_that_of_the_architectures_classifier(
    checkpoint, architecture, changes, expected
):
    folder = checkpoint(architecture, **changes)
    assert pooled(folder).model.dropout.p == expected
    assert pooled(folder, dropout=0.5).model.dropout.p == 0.5
    assert pooled(folder, dropout=0.0).model.dropout.p == 0.0


def test_a_model_without_a_head_of_its_own_is_refused(checkpoint):
    with pytest.raises(UserError, match=r"'bert' has no base model.*set pooling: first"):
        pool_mean(AutoModel.from_pretrained(checkpoint("bert")))


def test_hidden_states_that_are_not_one_for_each_token_are_refused(checkpoint, monkeypatch):
    encoder = pooled(checkpoint("bert"))
    base, batch = encoder.model.bert, encoder.tokenizer(*TEXTS, padding=True, return_tensors="pt")
    found = base(**batch)
    found.last_hidden_state = found.last_hidden_state[:, ::2]
    monkeypatch.setattr(base, "forward", lambda *given, **more: found)
    with pytest.raises(UserError, match=r"'bert' gives \d+ hidden states for \d+ tokens"):
        encoder.model(**batch)
