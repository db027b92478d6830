"""The mean over each sequence: every path against padded batches of the untouched model."""

import math

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import recipe

from beft.data.encoded import Encoded
from beft.engine.batches import collate
from beft.engine.dispatch import serves
from beft.engine.encoder import packed
from beft.engine.encoder.flat import flatten
from beft.engine.encoder.packed import Flattened
from beft.engine.encoder.padded import predict
from beft.engine.encoder.pooled import Means, means
from beft.engine.shares import Share
from beft.models.encoder import Encoder, load_encoder

FAMILIES = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"]
PACK = ["all_biases", "b_v", "head_only", "b_output_norm"]


def examples(encoder: Encoder, count: int, seed: int, labels: int = 2) -> Encoded:
    """Sequences of 3 to 9 tokens, of two segments where the model tells them apart."""
    data = encoded(count, seed, labels)
    typed = "token_type_ids" in encoder.tokenizer.model_input_names
    types = [[int(i > 2) for i in range(len(ids))] for ids in data.ids] if typed else None
    return Encoded(data.ids, types, data.labels)


def pack(folder, labels: int = 2, dropout: float = 0.0) -> Flattened:
    """Runs whose values are away from the pretrained ones, differently in each."""
    encoder = load_encoder(folder, labels, dropout=dropout, pooling="mean")
    recipes = [recipe(name, labels, seed=i) for i, name in enumerate(PACK)]
    data = [examples(encoder, 8, 10 + i, labels) for i in range(len(PACK))]
    slots = Flattened(encoder, recipes, data, "cpu")
    slots.theta += 0.1 * torch.randn(slots.theta.shape, generator=torch.Generator().manual_seed(1))
    return slots


def alone(folder, slots: Flattened, run: int, labels: int = 2) -> Encoder:
    """The untouched model with a run's values."""
    encoder = load_encoder(folder, labels, dropout=0.0, pooling="mean")
    with torch.no_grad():
        for leaf in slots.leaves:
            parameter = encoder.model.get_parameter(leaf.parameter)
            place = parameter if leaf.site is None else parameter[leaf.site.index]
            place.copy_(slots.value(leaf, [run])[0])
    return encoder


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("architecture", FAMILIES)
def test_outputs_and_gradients_equal_those_of_padded_batches(
    tmp_path, monkeypatch, architecture, labels, written
):
    if not written:
        monkeypatch.setattr(packed, "table_of", lambda encoder, dtype: None)
    folder = tiny.checkpoint(architecture, tmp_path)
    slots = pack(folder, labels)
    assert serves(slots.model, "cpu") and (slots.table is not None) == written
    rows = np.arange(6)
    chunk = [Share(run, slots.train[run], rows) for run in range(len(PACK))]
    losses, gradient = slots._gradient(chunk, dict.fromkeys(range(len(PACK)), 7))
    validation = examples(slots.model, 20, 3, labels)
    outputs = slots.predict(validation, list(range(len(PACK))))
    parts = gradient.split([leaf.values.numel() for leaf in slots.leaves])
    for run in range(len(PACK)):
        encoder = alone(folder, slots, run, labels)
        expected = predict(encoder, validation, "cpu", "float32")
        np.testing.assert_allclose(outputs[run], expected, rtol=1e-5, atol=1e-5)
        batch = collate(slots.train[run], rows, 0, "cpu")
        target = batch.pop("labels")
        logits = encoder.model(**batch).logits
        loss = (
            ((logits[:, 0] - target) ** 2).mean()
            if labels == 1
            else torch.nn.functional.cross_entropy(logits, target)
        )
        loss.backward()
        assert losses[run] == pytest.approx(loss.item(), rel=1e-5)
        for leaf, part in zip(slots.leaves, parts, strict=True):
            if run in leaf.runs:
                found = part.view_as(leaf.values)[leaf.runs.index(run)]
                wanted = encoder.model.get_parameter(leaf.parameter).grad
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["deberta-v2", "deberta-v3", "mpnet", "qwen2", "opt"])
def test_what_a_row_cannot_serve_is_noticed(tmp_path, architecture):
    """Relative positions, and tokens that see only those before them."""
    made = tiny.decoder_checkpoint if architecture in tiny.DECODERS else tiny.checkpoint
    folder = made(architecture, tmp_path)
    assert not serves(load_encoder(folder, 2, pooling="mean"), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"))


def test_bfloat16_follows_the_padded_model(folder):
    encoder = load_encoder(folder, 2, pooling="mean")
    data = examples(encoder, 20, 3)
    slots = Flattened(encoder, [recipe("b_v", precision="bfloat16")], [data], "cpu")
    exact = predict(encoder, data, "cpu", "float32")
    error = np.abs(slots.predict(data, [0])[0] - exact).max()
    peer = np.abs(predict(encoder, data, "cpu", "bfloat16") - exact).max()
    assert 0 < error < 3 * peer


def test_a_mean_and_its_gradient_by_hand():
    """Sequences of 3, 1 and 2 tokens, then 10 copies of the last token, which count nowhere."""
    data = Encoded([[2, 80, 3], [2], [81, 3]], None, torch.zeros(3))
    flat = flatten([Share(0, data, np.arange(3))], 0, "cpu")
    rows = torch.arange(32.0).view(16, 2).requires_grad_()
    found = Means.apply(rows, flat)
    assert found.tolist() == [[2.0, 3.0], [6.0, 7.0], [9.0, 10.0]]
    (grad,) = torch.autograd.grad(found, rows, torch.tensor([[3.0, 6.0], [1.0, 2.0], [4.0, 2.0]]))
    assert grad[:6].tolist() == [[1, 2], [1, 2], [1, 2], [1, 2], [2, 1], [2, 1]]
    assert not grad[6:].any()


def test_what_is_not_finite_stays_in_its_sequence():
    data = Encoded([[2, 80, 3], [2], [81, 3]], None, torch.zeros(3))
    flat = flatten([Share(0, data, np.arange(3))], 0, "cpu")
    rows = torch.ones(16, 2)
    rows[1], rows[6:] = math.nan, math.inf
    found = means(flat, rows)
    assert found[0].isnan().all() and (found[1:] == 1).all()
