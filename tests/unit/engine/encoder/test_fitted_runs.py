"""Runs whose heads are fitted: against transformers, autograd and scikit-learn, and in packs."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from support import tiny
from support.examples import encoded
from support.recipes import recipe

from beft.data.encoded import Encoded, encode
from beft.data.order import order
from beft.engine.base import Engine
from beft.engine.batches import collate
from beft.engine.dispatch import engine, groups, serves
from beft.engine.encoder import packed
from beft.engine.encoder.packed import Flattened
from beft.engine.encoder.pairs import pair_losses
from beft.errors import UserError
from beft.models.encoder import Encoder, load_encoder
from beft.models.pooling import mean_states
from beft.study.recipe import Recipe
from beft.training.loop import train
from beft.training.state import Control, Data, State

FITTED = {"head": "fitted", "pooling": "mean"}
PAIRS = FITTED | {"objective": "contrastive_pairs"}
TERMS = ["b_v", "all_biases", "b_output_norm", "b_q"]


def examples(encoder: Encoder, count: int, seed: int, labels: int = 2) -> Encoded:
    data = encoded(count, seed, labels)
    typed = "token_type_ids" in encoder.tokenizer.model_input_names
    return data if typed else Encoded(data.ids, None, data.labels)


def embeddings(encoder: Encoder, data: Encoded) -> torch.Tensor:
    """The mean of the last hidden states of transformers' own model, example by example."""
    found = []
    for row in range(len(data)):
        batch = collate(data, np.array([row]), 0, "cpu")
        del batch["labels"]
        hidden = encoder.model.base_model(**batch).last_hidden_state
        found.append(hidden[0].mean(0))
    return torch.stack(found)


def probe(labels: int = 2, seed: int = 5, **training: object) -> Recipe:
    settings = {"learning_rate": 0.0, "epochs": 0} | FITTED | training
    return recipe("linear_probe", labels, seed, **settings)


def run(encoder: Encoder, recipes: list[Recipe], flat: bool, labels: int = 2) -> list[State]:
    data = [
        Data(examples(encoder, 20 + r.seed, r.seed, labels), {"validation": held})
        for held in [examples(encoder, 30, 99, labels)]
        for r in recipes
    ]
    used = engine(encoder, recipes, [d.train for d in data], "cpu", flat)
    try:
        return train(used, data, Control(None))
    finally:
        used.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"))


@pytest.mark.parametrize("labels", [1, 2, 3])
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "mpnet"])
def test_a_probe_is_scikit_learn_on_embeddings_of_transformers(tmp_path, architecture, labels):
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), labels, pooling="mean")
    (state,) = run(encoder, [probe(labels)], serves(encoder, "cpu"), labels)
    fitted_to, asked = examples(encoder, 25, 5, labels), examples(encoder, 30, 99, labels)
    with torch.inference_mode():
        points = embeddings(encoder, fitted_to).double().numpy()
        others = embeddings(encoder, asked).double().numpy()
    kind = Ridge(alpha=1.0) if labels == 1 else LogisticRegression(max_iter=1000)
    expected = kind.fit(points, fitted_to.labels.numpy()).predict(others)
    found = state.tensors["predictions/last/validation"].numpy()
    if labels == 1:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:
        assert np.array_equal(found, expected)
    assert [row["epoch"] for row in state.history] == [0]
    assert state.history[0]["train_loss"] is None and state.best_epoch == 0


def test_probes_share_a_pass_and_change_no_bias(folder):
    encoder = load_encoder(folder, 2, pooling="mean")
    recipes = [probe(seed=seed) for seed in (5, 6)]
    assert groups(recipes, True, "cpu") == [recipes]
    for state, alone in zip(
        run(encoder, recipes, True), (run(encoder, [r], True)[0] for r in recipes), strict=True
    ):
        assert state.history == alone.history
        for name in ("head/last", "biases/pre"):
            same = [k for k in state.tensors if k.startswith(name)]
            assert same and all(torch.equal(state.tensors[k], alone.tensors[k]) for k in same)
        biases = {k: v for k, v in state.tensors.items() if k.startswith("biases/post/")}
        for name, value in biases.items():
            assert torch.equal(value, state.tensors[name.replace("post", "pre")])


def moved(encoder: Encoder, labels: int) -> Flattened:
    """A pack whose values are away from the pretrained ones, differently in each run."""
    recipes = [recipe(name, labels, seed=i, **PAIRS) for i, name in enumerate(TERMS)]
    data = [examples(encoder, 8, 10 + i, labels) for i in range(len(TERMS))]
    slots = Flattened(encoder, recipes, data, "cpu")
    slots.theta += 0.1 * torch.randn(slots.theta.shape, generator=torch.Generator().manual_seed(1))
    return slots


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("labels", [2, 3])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
def test_gradients_of_a_pack_are_those_of_autograd(
    tmp_path, monkeypatch, architecture, labels, written
):
    if not written:
        monkeypatch.setattr(packed, "table_of", lambda encoder, dtype: None)
    folder = tiny.checkpoint(architecture, tmp_path)
    slots = moved(load_encoder(folder, labels, dropout=0.0, pooling="mean"), labels)
    assert (slots.table is not None) == written
    losses, gradients = {}, {}
    original = slots.optimizer.update

    def update(gradient, norms, found):
        gradients["all"] = gradient.clone()
        losses.update(found)
        return original(gradient, norms, found)

    monkeypatch.setattr(slots.optimizer, "update", update)
    values = {leaf: leaf.values.detach().clone() for leaf in slots.leaves}
    rows = np.array([3, 1, 0, 6, 7])
    slots.step(dict.fromkeys(range(len(TERMS)), rows), dict.fromkeys(range(len(TERMS)), 1))
    parts = gradients["all"].split([leaf.values.numel() for leaf in slots.leaves])
    for i in range(len(TERMS)):
        alone = load_encoder(folder, labels, dropout=0.0, pooling="mean")
        with torch.no_grad():
            for leaf in slots.leaves:
                if leaf.site is not None and i in leaf.runs:
                    parameter = alone.model.get_parameter(leaf.parameter)
                    parameter.copy_(values[leaf][leaf.runs.index(i)])
        loss = pair_losses(
            embeddings(alone, slots.train[i].take(rows)), slots.train[i].labels[rows]
        ).mean()
        loss.backward()
        assert losses[i] == pytest.approx(loss.item(), rel=1e-5)
        for leaf, part in zip(slots.leaves, parts, strict=True):
            if i not in leaf.runs:
                continue
            found = part.view_as(leaf.values)[leaf.runs.index(i)]
            if leaf.site is None:
                assert not found.any()
            else:
                wanted = alone.model.get_parameter(leaf.parameter).grad
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_each_run_of_a_pack_equals_the_run_alone(folder, dropout):
    """Runs of other terms, seeds, rates and numbers of examples; the last batch may have one."""
    rates = [1e-2, 4e-3, 1e-3, 2e-2]
    recipes = [
        recipe(name, seed=i, learning_rate=rate, **PAIRS)
        for i, (name, rate) in enumerate(zip(TERMS, rates, strict=True))
    ]
    encoder = load_encoder(folder, 2, dropout=dropout, pooling="mean")
    for state, r in zip(run(encoder, recipes, True), recipes, strict=True):
        (alone,) = run(encoder, [r], True)
        assert [h["epoch"] for h in state.history] == [1, 2, 3]
        for name, tensor in alone.tensors.items():
            if not name.endswith("/k"):
                close = {"rtol": 1e-4, "atol": 1e-4 if name.startswith("head/") else 1e-5}
                torch.testing.assert_close(state.tensors[name], tensor, **close)


def test_a_padded_run_equals_the_packed_one(folder):
    """The same loss and head, computed by the model's own forward pass."""
    encoder = load_encoder(folder, 2, dropout=0.0, pooling="mean")
    r = recipe("all_biases", **PAIRS)
    (flat,), (padded,) = run(encoder, [r], True), run(encoder, [r], False)
    for name, tensor in flat.tensors.items():
        if not name.endswith("/k"):
            torch.testing.assert_close(padded.tensors[name], tensor, rtol=1e-3, atol=1e-3)


def test_training_brings_classes_apart_and_the_head_follows(folder):
    encoder = load_encoder(folder, 2, dropout=0.0, pooling="mean")
    (state,) = run(encoder, [recipe("all_biases", epochs=12, **PAIRS)], True)
    losses = [row["train_loss"] for row in state.history]
    assert losses[-1] < 0.8 * losses[0]
    weights = [v for k, v in state.tensors.items() if k.startswith("head/last/")]
    assert len(weights) == 2 and all(w.any() for w in weights)


@pytest.mark.parametrize("tokens", [30, 9])
def test_no_batch_is_split(folder, monkeypatch, tokens):
    """Where passes have few tokens, each batch is a pass of its own, and nothing changes."""
    encoder = load_encoder(folder, 2, dropout=0.1, pooling="mean")
    recipes = [recipe(name, seed=i, **PAIRS) for i, name in enumerate(TERMS[:2])]
    whole = run(encoder, recipes, True)
    monkeypatch.setattr("beft.engine.slots.step_tokens", lambda device: tokens)
    for state, expected in zip(run(encoder, recipes, True), whole, strict=True):
        for name, tensor in expected.tensors.items():
            if not name.endswith("/k"):
                close = {"rtol": 1e-4, "atol": 1e-4 if name.startswith("head/") else 1e-5}
                torch.testing.assert_close(state.tensors[name], tensor, **close)


def test_a_batch_that_memory_cannot_hold_is_an_error(folder, monkeypatch):
    encoder = load_encoder(folder, 2, pooling="mean")
    monkeypatch.setattr("beft.engine.slots.fitting_tokens", lambda *_: 9)
    with pytest.raises(UserError, match="b_v: a batch of 4 examples does not fit into memory"):
        run(encoder, [recipe("b_v", **PAIRS)], True)


def test_a_batch_that_a_device_refuses_is_an_error(folder, monkeypatch):
    """Two runs are tried one by one first."""
    encoder = load_encoder(folder, 2, pooling="mean")
    tried = []

    def gradient(slots, chunk, seeds):
        tried.append(len(chunk))
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(Flattened, "_gradient", gradient)
    recipes = [recipe("b_v", seed=i, **PAIRS) for i in range(2)]
    with pytest.raises(UserError, match="b_v: a batch of 4 examples does not fit into memory"):
        run(encoder, recipes, True)
    assert tried[-1] == 1


def test_a_run_that_diverges_ends_alone(folder):
    encoder = load_encoder(folder, 2, dropout=0.0, pooling="mean")
    recipes = [recipe("b_v", seed=0, **PAIRS), recipe("b_v", 2, 1, learning_rate=1e38, **PAIRS)]
    good, bad = run(encoder, recipes, True)
    assert (good.status, bad.status) == ("ok", "diverged")
    (alone,) = run(encoder, recipes[:1], True)
    for row, other in zip(good.history, alone.history, strict=True):
        assert row == pytest.approx(other)


@pytest.mark.mirror
def test_a_probe_of_a_real_model(mirror):
    """MiniLM and 1,000 rows of SST-2: what scikit-learn gives of embeddings by transformers."""
    import pyarrow.parquet as pq

    glue = mirror / "datasets" / "nyu-mll" / "glue" / "sst2"
    model = mirror / "models" / "sentence-transformers" / "all-MiniLM-L6-v2"
    encoder = load_encoder(model, 2, pooling="mean")
    table = pq.read_table(glue / "train.parquet")
    rows = order(len(table), "sst2", 0)[:1000]
    task = {"name": "sst2", "text": ["sentence"], "label": "label", "labels": ["0", "1"]}
    train, validation = (
        encode(part, task, encoder.tokenizer, 128)
        for part in (table.take(rows), pq.read_table(glue / "validation.parquet"))
    )
    used: Engine = engine(encoder, [probe()], [train], "cpu", True)
    used.fit_heads([0])
    decided = validation.decide(used.predict(validation, [0])[0])
    head = LogisticRegression(max_iter=1000).fit(pooled(encoder, train), train.labels.numpy())
    expected = head.predict(pooled(encoder, validation))
    assert (decided == expected).mean() > 0.998
    assert 0.75 < (decided == validation.labels.numpy()).mean() < 0.78


@torch.inference_mode()
def pooled(encoder: Encoder, data: Encoded, size: int = 50) -> np.ndarray:
    found = []
    for start in range(0, len(data), size):
        rows = np.arange(start, min(start + size, len(data)))
        batch = collate(data, rows, encoder.tokenizer.pad_token_id, "cpu")
        del batch["labels"]
        hidden = encoder.model.base_model(**batch).last_hidden_state
        found.append(mean_states(hidden, batch["attention_mask"]).numpy())
    return np.concatenate(found)
