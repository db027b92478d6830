"""Outputs without gradients: Hugging Face's own, however the sequences of a row are ordered."""

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import recipe

from beft.data.encoded import Encoded
from beft.engine.encoder import packed
from beft.engine.encoder.evaluate import evaluate
from beft.engine.encoder.flat import flatten
from beft.engine.encoder.packed import Flattened
from beft.engine.encoder.padded import predict
from beft.engine.encoder.rowwise import heads
from beft.engine.shares import Share
from beft.models.encoder import load_encoder

FAMILIES = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"]
PACK = ["all_biases", "b_v", "head_only"]


def examples(encoder, count: int = 30) -> Encoded:
    data = encoded(count, 3)
    typed = "token_type_ids" in encoder.tokenizer.model_input_names
    types = [[int(i > 2) for i in range(len(ids))] for ids in data.ids] if typed else None
    return Encoded(data.ids, types, data.labels)


def pack(folder) -> tuple[Flattened, Encoded]:
    """Three runs whose values are away from the pretrained ones, differently in each."""
    encoder = load_encoder(folder, 2)
    data = examples(encoder)
    recipes = [recipe(name, seed=i) for i, name in enumerate(PACK)]
    slots = Flattened(encoder, recipes, [data] * len(PACK), "cpu")
    slots.theta += 0.1 * torch.randn(slots.theta.shape, generator=torch.Generator().manual_seed(1))
    return slots, data


def expected(folder, slots: Flattened, data: Encoded, run: int) -> np.ndarray:
    """Logits by the untouched model with the run's values, from padded batches."""
    encoder = load_encoder(folder, 2)
    with torch.no_grad():
        for leaf in slots.leaves:
            parameter = encoder.model.get_parameter(leaf.parameter)
            place = parameter if leaf.site is None else parameter[leaf.site.index]
            place.copy_(slots.value(leaf, [run])[0])
    return predict(encoder, data, "cpu", "float32")


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [(name, {}) for name in FAMILIES]
    + [("bert", {"hidden_act": "gelu_new"}), ("distilbert", {"activation": "relu"})],
)
def test_outputs_of_each_run_equal_hugging_faces(tmp_path, architecture, changes):
    folder = tiny.checkpoint(architecture, tmp_path, **changes)
    slots, data = pack(folder)
    assert slots.table is not None
    found = slots.predict(data, [0, 1, 2])
    for run, logits in enumerate(found):
        wanted = expected(folder, slots, data, run)
        np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(slots.predict(data, [run])[0], logits)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"), num_hidden_layers=3)


@pytest.mark.parametrize("fuses", [True, False])
def test_neither_order_nor_fused_operations_matter(folder, monkeypatch, fuses):
    slots, data = pack(folder)
    table = slots.table
    assert table is not None
    for layer in table.layers:
        monkeypatch.setattr(layer.intermediate, "fuses", layer.intermediate.fuses and fuses)
    order = np.random.default_rng(0).permutation(len(data))
    row = flatten([Share(0, data, order)], 0, "cpu")
    head, own = slots._values([0])
    states = evaluate(table, row, {key: value[0] for key, value in own.items()})
    logits = heads(slots.model, row, states, head).detach().numpy()
    wanted = expected(folder, slots, data, 0)[order]
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-5)


@pytest.fixture
def made(monkeypatch) -> list[int]:
    """The number of sequences of each row that was made."""
    counts: list[int] = []

    def counted(shares, *rest):
        counts.append(sum(len(share.rows) for share in shares))
        return flatten(shares, *rest)

    monkeypatch.setattr(packed, "flatten", counted)
    return counts


def test_a_split_is_ordered_once_for_all_runs_and_evaluations(folder, made):
    slots, data = pack(folder)
    slots.passes.tokens = 30
    first = slots.predict(data, [0, 1, 2])
    assert len(made) > 2 and sum(made) == len(data)
    second = slots.predict(data, [0, 1, 2])
    assert sum(made) == len(data)
    np.testing.assert_array_equal(first, second)
    other = data.take(np.arange(len(data))[::-1].copy())
    np.testing.assert_allclose(slots.predict(other, [1])[0][::-1], first[1], rtol=1e-5, atol=1e-6)
    assert sum(made) == 2 * len(data)
    np.testing.assert_array_equal(slots.predict(data, [1])[0], first[1])
    slots.passes.tokens = 15  # memory became less
    np.testing.assert_allclose(slots.predict(data, [1])[0], first[1], rtol=1e-5, atol=1e-6)
    assert sum(made) == 3 * len(data)


def test_rows_of_large_splits_are_not_kept(folder, made, monkeypatch):
    monkeypatch.setattr(packed, "KEPT_TOKENS", 10)
    slots, data = pack(folder)
    found = [slots.predict(data, [0])[0] for _ in range(2)]
    assert sum(made) == 2 * len(data) and not slots.splits
    np.testing.assert_array_equal(*found)


def test_a_pass_that_does_not_fit_is_made_of_halves(folder, made, monkeypatch):
    slots, data = pack(folder)
    whole = slots.predict(data, [0, 1])

    def refusing(table, flat, values):
        if len(flat.lengths) > 9:
            raise torch.OutOfMemoryError("out of memory")
        return evaluate(table, flat, values)

    monkeypatch.setattr(packed, "evaluate", refusing)
    halves = slots.predict(data, [0, 1])
    np.testing.assert_allclose(halves, whole, rtol=1e-5, atol=1e-6)
    assert slots.passes.refused > 1 and max(made[1:]) == 15


def test_bfloat16_follows_the_padded_model(folder):
    encoder = load_encoder(folder, 2)
    data = examples(encoder)
    slots = Flattened(encoder, [recipe("b_v", precision="bfloat16")], [data], "cpu")
    exact = predict(encoder, data, "cpu", "float32")
    error = np.abs(slots.predict(data, [0])[0] - exact).max()
    peer = np.abs(predict(encoder, data, "cpu", "bfloat16") - exact).max()
    assert 0 < error < 3 * peer
