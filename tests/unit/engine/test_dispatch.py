"""The interface of engines: what every one of them does alike."""

import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import recipe

from beft.engine.dispatch import engine
from beft.models.encoder import load_encoder
from beft.models.sites import read_biases


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(tiny.checkpoint("bert", tmp_path_factory.mktemp("bert")), 2)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("technique", ["b_v", "all_biases"])
def test_an_engine_starts_from_given_values(encoder, flat, technique):
    """Without training data: snapshot and head are those given, `close` restores the model."""
    before = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    given = {t: v + 1 for t, v in read_biases(encoder.model, encoder.sites).items()}
    head = {n: torch.full_like(before[n], 0.5) for n in encoder.head}
    used = engine(encoder, [recipe(technique)], [], "cpu", flat)
    plain = used.predict(encoded(5, 0), [0])[0]
    used.start_from(0, given, head)
    trained = given if technique == "all_biases" else {"v": given["v"]}
    for term, values in trained.items():
        assert torch.equal(used.snapshot(0)[term], values)
    assert all(torch.equal(used.head(0)[n], value) for n, value in head.items())
    assert abs(used.predict(encoded(5, 0), [0])[0] - plain).max() > 1e-3
    used.close()
    for name, parameter in encoder.model.named_parameters():
        if name not in encoder.fresh:
            assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("technique", ["random_uniform", "full"])
def test_training_goes_on_from_given_values(encoder, technique):
    """A step without effect (rate 0) leaves the given biases as they are."""
    given = {t: v + 1 for t, v in read_biases(encoder.model, encoder.sites).items()}
    data = encoded(4, 0)
    used = engine(encoder, [recipe(technique, learning_rate=0.0)], [data], "cpu", False)
    used.start_from(0, given, None)
    used.step({0: torch.arange(4).numpy()}, {0: 1})
    assert all(torch.equal(used.snapshot(0)[term], values) for term, values in given.items())
    used.close()
