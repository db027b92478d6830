"""Adapters answer what transformers computes of the same values, alone and several at once."""

import numpy as np
import pytest
import torch
from support import own_adapters, tiny
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from beft.errors import UserError
from beft.tuning.adapter_format import read_adapted
from beft.tuning.load import load, load_all, predict_all

TEXTS = ["the film was good", "a dull plot", "it is not very bad and the man likes the dog", "cat"]
PAIRS = [("the film", "was good"), ("a dull plot", "it sleeps"), ("dog", "cat runs")]
THREE = ("one", "two", "three")


@pytest.fixture(scope="module", params=["bert", "roberta", "deberta-v3"])
def base(request, tmp_path_factory):
    return own_adapters.model(tmp_path_factory.mktemp("base") / "m", request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return own_adapters.model(tmp_path_factory.mktemp("base") / "m")


def by_hand(base, folder, texts) -> np.ndarray:
    """Outputs of the checkpoint after every parameter of the adapter is put into it."""
    adapted = read_adapted(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=adapted.facts.outputs
    )
    assert not model.load_state_dict(adapted.values, strict=False).unexpected_keys
    tokenizer = AutoTokenizer.from_pretrained(base)
    columns = list(zip(*texts, strict=True)) if isinstance(texts[0], tuple) else [texts]
    batch = tokenizer(
        *map(list, columns), padding=True, truncation=True, max_length=16, return_tensors="pt"
    )
    with torch.no_grad():
        return model.eval()(**batch).logits.numpy()


@pytest.mark.parametrize("terms", [("v",), ("q", "output_norm"), (), None])
def test_classes(base, tmp_path, terms):
    if terms is None:
        terms = tuple(load(own_adapters.adapter(tmp_path / "x", base)).host.model.sites.terms)
    folder = own_adapters.adapter(tmp_path / "a", base, terms=terms, classes=THREE)
    expected = by_hand(base, folder, TEXTS)
    adapter = load(folder)
    np.testing.assert_allclose(adapter.outputs(TEXTS), expected, atol=1e-5)
    found = adapter.predict(TEXTS)
    assert found.predictions.tolist() == [THREE[i] for i in expected.argmax(1)]
    shares = torch.tensor(expected).softmax(1).numpy()
    np.testing.assert_allclose(found.probabilities, shares, atol=1e-5)
    assert not found.cut.any() and not found.empty.any()


def test_pairs_and_numbers(base, tmp_path):
    facts = {"texts": ["left", "right"], "mean": 10.0, "deviation": 2.5}
    folder = own_adapters.adapter(tmp_path / "a", base, classes=(), **facts)
    found = load(folder).predict(PAIRS)
    expected = by_hand(base, folder, PAIRS)[:, 0] * 2.5 + 10
    np.testing.assert_allclose(found.predictions, expected, atol=1e-4)
    assert found.probabilities.shape == (3, 0) and found.classes == ()


def test_several_share_one_model(base, tmp_path):
    folders = [
        own_adapters.adapter(tmp_path / "a", base, seed=1),
        own_adapters.adapter(tmp_path / "b", base, seed=2, terms=("q",), classes=THREE),
        own_adapters.adapter(tmp_path / "c", base, seed=3, classes=(), max_length=4),
        own_adapters.adapter(tmp_path / "d", base, seed=4, terms=()),
    ]
    adapters = load_all(folders)
    assert len({id(adapter.host.model) for adapter in adapters}) == 1
    together = predict_all(adapters, TEXTS)
    for folder, found in zip(folders, together, strict=True):
        alone = load(folder).predict(TEXTS)
        assert found.classes == alone.classes
        np.testing.assert_array_equal(found.cut, alone.cut)
        np.testing.assert_allclose(found.probabilities, alone.probabilities, atol=1e-6)
        if not found.classes:
            np.testing.assert_allclose(found.predictions, alone.predictions, atol=1e-6)
        else:
            assert found.predictions.tolist() == alone.predictions.tolist()
    assert together[2].cut.tolist() == [True, True, True, False]


def test_different_models(bert, tmp_path):
    other = tiny.checkpoint("bert", tmp_path / "other", seed=1)
    one = own_adapters.adapter(tmp_path / "a", bert)
    two = own_adapters.adapter(tmp_path / "b", other)
    with pytest.raises(UserError, match="b: tuned on .*other, and .*a on .* different models"):
        load_all([one, two])


def test_texts_that_are_cut_or_empty(bert, tmp_path):
    adapter = load(own_adapters.adapter(tmp_path / "a", bert, max_length=6))
    texts = ["the film was good", "the film was very good", "", " \n", "dog"]  # 4 and 5 words
    found = adapter.predict(texts)
    assert found.cut.tolist() == [False, True, False, False, False]
    assert found.empty.tolist() == [False, False, True, True, False]
    assert found.predictions[2] is None and np.isnan(found.probabilities[2]).all()
    assert np.isfinite(found.probabilities[[0, 1, 4]]).all()
    assert found.predictions[4] == adapter.predict(["dog"]).predictions[0]
    assert len(adapter.predict([]).predictions) == 0


@pytest.mark.parametrize("texts", [[("a", "b")], ["a", 3], [("a", "b", "c")], [None]])
def test_texts_of_another_kind(bert, tmp_path, texts):
    adapter = load(own_adapters.adapter(tmp_path / "a", bert))
    with pytest.raises(UserError, match=r"row \d: .*a reads one text of each example"):
        adapter.predict(texts)


def test_values_of_another_shape(bert, tmp_path):
    wide = own_adapters.model(tmp_path / "wide", "bert")
    folder = own_adapters.adapter(tmp_path / "a", wide, terms=("v",))
    facts = (folder / "beft.json").read_text().replace('"v"', '"q"')
    (folder / "beft.json").write_text(facts)
    with pytest.raises(UserError, match="beft.safetensors: not of this model's parameters"):
        load(folder)
    folder = own_adapters.adapter(tmp_path / "b", wide, classes=THREE)
    facts = (folder / "beft.json").read_text().replace('"three"', '"three", "four"')
    (folder / "beft.json").write_text(facts)
    with pytest.raises(UserError, match=r"beft.safetensors: .* has shape"):
        load(folder).predict(TEXTS)
