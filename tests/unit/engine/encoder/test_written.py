"""The hand-written passes against Hugging Face's own forward and autograd, in float32."""

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import recipe

from beft.data.encoded import Encoded
from beft.engine.encoder.frozen import frozen_linears
from beft.engine.encoder.packed import Flattened
from beft.engine.shares import Share
from beft.models.encoder import load_encoder

FAMILIES = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"]
TERMS = ["q", "k", "v", "attention_output", "attention_norm", "intermediate", "output"]
TERMS += ["output_norm"]


def kinds(encoder, data: Encoded) -> Encoded:
    typed = "token_type_ids" in encoder.tokenizer.model_input_names
    return data if typed else Encoded(data.ids, None, data.labels)


def moved(slots: Flattened) -> Flattened:
    """Every run's values away from the pretrained ones, differently in each."""
    generator = torch.Generator().manual_seed(1)
    slots.theta += 0.1 * torch.randn(slots.theta.shape, generator=generator)
    return slots


def gradients(slots: Flattened, written: bool, sizes=(5, 3, 6)):
    """Losses and the gradient of a step, through the hand-written passes or Hugging Face's."""
    assert slots.table is not None
    chunk = [
        Share(run, data, np.arange(size))
        for run, (data, size) in enumerate(zip(slots.train, sizes, strict=False))
    ]
    kept = slots.table, slots.linears
    if not written:
        slots.table, slots.linears = None, frozen_linears(slots.model, torch.float32)
    try:
        return slots._gradient(chunk, {share.run: 7 + share.run for share in chunk})
    finally:
        slots.table, slots.linears = kept


def made(folder, techniques, dropout, pooling="first") -> Flattened:
    encoder = load_encoder(folder, 2, dropout=dropout, pooling=pooling)
    recipes = [recipe(name, seed=i) for i, name in enumerate(techniques)]
    data = [kinds(encoder, encoded(8, 10 + i)) for i in range(len(recipes))]
    return moved(Flattened(encoder, recipes, data, "cpu"))


def assert_equal(slots: Flattened) -> None:
    losses, gradient = gradients(slots, written=True)
    expected_losses, expected = gradients(slots, written=False)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    scale = expected.abs().max().item()
    assert scale > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("dropout", [0.0, 0.1, None])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_gradients_of_every_bias_equal_hugging_faces(tmp_path, architecture, dropout, pooling):
    folder = tiny.checkpoint(architecture, tmp_path)
    assert_equal(made(folder, ["all_biases"], dropout, pooling))
    assert_equal(made(folder, ["all_biases", "b_v", "all_biases"], dropout, pooling))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"), num_hidden_layers=3)


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_has_the_gradient_that_it_has_among_all(folder, term, pooling):
    """The pass ends at the lowest bias that is trained."""
    assert_equal(made(folder, [f"b_{term}"], 0.1, pooling))
    assert_equal(made(folder, [f"b_{term}", "head_only", "b_output_norm"], 0.1, pooling))
