"""The training loop against a plain loop, its checkpoint, its failures, and what it leaves."""

import copy
from dataclasses import replace

import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import recipe
from torch.nn.functional import cross_entropy

from beft.data.encoded import Encoded
from beft.data.order import order
from beft.engine.dispatch import engine, packs_together
from beft.engine.encoder.padded import predict
from beft.engine.parts import parts_of
from beft.models.encoder import init_head, load_encoder
from beft.models.sites import read_biases
from beft.tasks.metrics import sums
from beft.techniques import TECHNIQUES
from beft.training import checkpoint
from beft.training.loop import train as train_runs
from beft.training.state import Control, Data, Interrupted, State

# Those that train parameters of an encoder itself; see test_adapters.py for the others.
TECHNIQUES_TRAINED = [
    name for name, t in TECHNIQUES.items() if t.trains and not t.adds and "encoder" in t.kinds
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture
def encoder(folder):
    return load_encoder(folder, 2)


@pytest.fixture
def data():
    return Data(encoded(10, 0), {"validation": encoded(12, 1)})


def control(tmp_path, **settings) -> Control:
    return Control(tmp_path / "work" / "checkpoint.safetensors", **settings)


def train(encoder, data, r, c, flat=None) -> State:
    """One run through the engine that it gets in a pack, or through the other one."""
    flat = packs_together(r) if flat is None else flat
    used = engine(encoder, [r], [data.train], "cpu", flat)
    try:
        return train_runs(used, [data], c)[0]
    finally:
        used.close()


def plain_loop(model, names, tokenizer, data, settings, seed, masks=None, weights=None):
    """What section 3.1 describes, written with nothing but torch: AdamW, clipping, mean loss.

    Args:
        weights: of each class.
    """
    parameters = dict(model.named_parameters())
    for name, p in parameters.items():
        p.requires_grad_(name in names)
    chosen = [parameters[n] for n in names]
    optimizer = torch.optim.AdamW(chosen, lr=settings["learning_rate"], weight_decay=0.0)
    model.train()
    for epoch in range(settings["epochs"]):
        rows = order(len(data.train), "epoch", seed, epoch)
        for start in range(0, len(rows), settings["batch_size"]):
            batch = [data.train.ids[r] for r in rows[start : start + settings["batch_size"]]]
            width = max(map(len, batch))
            ids = torch.tensor([b + [0] * (width - len(b)) for b in batch])
            mask = torch.tensor([[1] * len(b) + [0] * (width - len(b)) for b in batch])
            labels = data.train.labels[rows[start : start + settings["batch_size"]]]
            logits = model(input_ids=ids, attention_mask=mask).logits
            loss = cross_entropy(logits, labels, weights, reduction="sum") / len(batch)
            optimizer.zero_grad()
            loss.backward()
            for name, keep in (masks or {}).items():
                parameters[name].grad *= keep
            torch.nn.utils.clip_grad_norm_(chosen, settings["max_grad_norm"])
            optimizer.step()


PATHS = [(name, False) for name in TECHNIQUES_TRAINED] + [
    (name, True) for name in TECHNIQUES_TRAINED if TECHNIQUES[name].biases_only
]


@pytest.mark.parametrize(("technique", "flat"), PATHS)
def test_equals_a_plain_loop(encoder, data, tmp_path, technique, flat):
    assert_as_plain(encoder, data, tmp_path, technique, flat)


@pytest.mark.parametrize(("technique", "flat"), PATHS)
def test_with_the_mean_equals_a_plain_loop(folder, data, tmp_path, technique, flat):
    encoder = load_encoder(folder, 2, pooling="mean")
    assert_as_plain(encoder, data, tmp_path, technique, flat)


@pytest.mark.parametrize("architecture", ["modernbert", "modernbert-biases"])
@pytest.mark.parametrize(
    "technique", ["b_q", "b_k", "b_v", "all_biases", "head_only", "random_uniform"]
)
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_rows_of_a_fused_bias_equal_a_plain_loop(tmp_path, architecture, technique, pooling):
    """Added zeros among them. Positions turn queries and keys, so that key biases count."""
    folder = tiny.checkpoint(architecture, tmp_path / "model")
    encoder = load_encoder(folder, 2, pooling=pooling)
    train, validation = (Encoded(e.ids, None, e.labels) for e in (encoded(10, 0), encoded(12, 1)))
    data = Data(train, {"validation": validation})
    assert_as_plain(encoder, data, tmp_path, technique, False, without=())


def assert_as_plain(encoder, data, tmp_path, technique, flat, weights=None, without=("k",)):
    """Dropout off, float32: biases, head and predictions end where the plain loop ends them.

    Key biases excepted: their gradient is rounding noise (see `beft.selectors.inert`), which Adam
    turns into steps of full size, and which cannot change anything else.
    """
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    r = recipe(technique)
    reference = copy.deepcopy(encoder)
    init_head(reference, r.seed)
    parts = parts_of(encoder, r)
    masks = {}
    for part in parts:
        if part.index is not None:
            nothing = torch.zeros_like(reference.model.get_parameter(part.parameter))
            keep = masks.setdefault(part.parameter, nothing)
            keep.view(-1)[torch.as_tensor(part.index)] = 1.0
    names = list(dict.fromkeys([*(p.parameter for p in parts), *encoder.head]))
    plain_loop(reference.model, names, encoder.tokenizer, data, r.training, r.seed, masks, weights)
    state = train(encoder, data, r, control(tmp_path), flat)
    for term, values in read_biases(reference.model, reference.sites).items():
        if term not in without:
            torch.testing.assert_close(
                state.tensors[f"biases/post/{term}"], values, rtol=1e-5, atol=1e-6
            )
    for name in encoder.head:
        torch.testing.assert_close(
            state.tensors[f"head/last/{name}"],
            reference.model.get_parameter(name).detach(),
            rtol=1e-5,
            atol=1e-6,
        )
    logits = predict(reference, data.validation["validation"], "cpu", "float32")
    expected = torch.from_numpy(logits.argmax(1))
    assert torch.equal(state.tensors["predictions/last/validation"], expected)


@pytest.mark.parametrize(("technique", "flat"), [("b_v", True), ("b_v", False), ("full", False)])
def test_class_weights_equal_a_plain_loop(encoder, tmp_path, technique, flat):
    """8 of 11 examples are of one class: 11 / (2 * 8) and 11 / (2 * 3), as scikit-learn has it."""
    labels = torch.tensor([0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0])
    train_rows = replace(encoded(11, 0), labels=labels).balanced()
    data = Data(train_rows, {"validation": encoded(12, 1)})
    weights = torch.tensor([11 / 16, 11 / 6])
    assert_as_plain(encoder, data, tmp_path, technique, flat, weights)


@pytest.mark.parametrize("technique", [*TECHNIQUES_TRAINED, "untuned"])
def test_trains_exactly_what_it_says(encoder, data, tmp_path, technique):
    """Through the padded path, where the model itself is trained, and put back afterwards."""
    trains = TECHNIQUES[technique].trains
    r = recipe(technique, epochs=3 if trains else 0)
    parts = parts_of(encoder, r)
    pretrained = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    used = engine(encoder, [r], [data.train], "cpu", flat=False)
    start = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    assert train_runs(used, [data], control(tmp_path))[0].status == "ok"
    allowed = {p.parameter: p.index for p in parts}
    for name, p in encoder.model.named_parameters():
        changed = (p != start[name]).view(-1)
        if name in encoder.head and trains:
            assert changed.any(), name
        elif name not in allowed:
            assert not changed.any(), name
        elif allowed[name] is not None:
            outside = torch.ones_like(changed)
            outside[torch.as_tensor(allowed[name])] = False
            assert not (changed & outside).any(), name
    used.close()
    for name, p in encoder.model.named_parameters():
        assert torch.equal(p, pretrained[name]), name


@pytest.mark.parametrize("technique", [n for n in TECHNIQUES_TRAINED if TECHNIQUES[n].biases_only])
def test_packed_run_trains_its_terms_and_leaves_the_model_alone(encoder, data, tmp_path, technique):
    before = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    tensors = train(encoder, data, recipe(technique), control(tmp_path), flat=True).tensors
    terms = encoder.sites.terms
    changed = {
        t for t in terms if not torch.equal(tensors[f"biases/pre/{t}"], tensors[f"biases/post/{t}"])
    }
    term = TECHNIQUES[technique].term
    everything = set(terms) if technique == "all_biases" else set()
    assert changed == ({term} if term else everything)
    for name, p in encoder.model.named_parameters():
        if name not in encoder.fresh:
            assert torch.equal(p, before[name]), name


@pytest.mark.parametrize("technique", ["b_v", "all_biases", "random_uniform", "full"])
@pytest.mark.parametrize("stop_at", [0, 1, 4, 8])
def test_interrupted_run_ends_bit_for_bit_like_an_undisturbed_one(
    folder, data, tmp_path, technique, stop_at
):
    """Dropout on. The second process is a freshly loaded model with only the checkpoint."""
    whole = load_encoder(folder, 2)
    expected = train(whole, data, recipe(technique), control(tmp_path / "a"))
    first, asked = load_encoder(folder, 2), []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > stop_at

    with pytest.raises(Interrupted):
        train(first, data, recipe(technique), control(tmp_path / "b", stop=stop))
    second = load_encoder(folder, 2)
    torch.manual_seed(123)  # whatever the process did before must not matter
    state = train(second, data, recipe(technique), control(tmp_path / "b"))
    assert state.history == expected.history
    assert state.best_epoch == expected.best_epoch
    assert set(state.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        assert torch.equal(state.tensors[name], tensor), name


def test_checkpoint_of_another_recipe_or_damaged_is_not_used(encoder, data, tmp_path, caplog):
    c = control(tmp_path)
    expected = train(encoder, data, recipe(), c)
    other = train(encoder, data, recipe(epochs=2), c)
    assert [h["epoch"] for h in other.history] == [1, 2]
    assert "other runs" in caplog.text
    c.checkpoint.write_bytes(c.checkpoint.read_bytes()[:1000])
    again = train(encoder, data, recipe(), c)
    assert again.history == expected.history
    assert "not usable" in caplog.text


def test_checkpoint_of_another_precision_is_not_used(encoder, data, tmp_path, caplog, monkeypatch):
    """With `auto`, a machine without bfloat16 does not go on with what one with it began."""
    c, steps = control(tmp_path), iter((False, False, True))
    monkeypatch.setattr(checkpoint, "real", lambda device, name: "bfloat16")
    with pytest.raises(Interrupted):
        train(encoder, data, recipe(), replace(c, stop=lambda: next(steps)))
    monkeypatch.setattr(checkpoint, "real", lambda device, name: "float32")
    again = train(encoder, data, recipe(), c)
    assert "computed in bfloat16, which is not used here" in caplog.text
    assert again.history == train(encoder, data, recipe(), control(tmp_path / "alone")).history


def test_a_run_does_not_depend_on_earlier_runs_of_the_process(folder, data, tmp_path):
    fresh, used = load_encoder(folder, 2), load_encoder(folder, 2)
    train(used, data, recipe("full"), control(tmp_path / "x"))
    a = train(fresh, data, recipe(), control(tmp_path / "y"))
    b = train(used, data, recipe(), control(tmp_path / "z"))
    assert a.history == b.history
    assert all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)


def test_diverged_run_keeps_its_history(encoder, data, tmp_path):
    """A rate of 1e38 overflows float32 within a step; the epochs before stay on record."""
    state = train(encoder, data, recipe(learning_rate=1e38), control(tmp_path))
    assert state.status == "diverged"
    assert "not finite" in state.reason
    assert len(state.history) < 3


def test_snapshots_hold_every_epoch(encoder, data, tmp_path):
    """pre is the checkpoint, post the end, and the last epoch's snapshot is post."""
    pretrained = read_biases(encoder.model, encoder.sites)
    state = train(encoder, data, recipe("all_biases"), control(tmp_path))
    for term, values in pretrained.items():
        assert torch.equal(state.tensors[f"biases/pre/{term}"], values)
        post = state.tensors[f"biases/post/{term}"]
        assert torch.equal(post, state.tensors[f"biases/epoch-3/{term}"])
        assert not torch.equal(post, values)
        assert f"biases/epoch-1/{term}" in state.tensors


def test_best_epoch_is_the_first_maximum(encoder, data, tmp_path):
    state = train(encoder, data, recipe(epochs=6), control(tmp_path))
    values = [h["validation/accuracy"] for h in state.history]
    assert state.best_epoch == values.index(max(values)) + 1


@pytest.mark.parametrize("labels", [2, 1])
def test_examples_add_up_to_the_metric_of_the_best_and_the_last_epoch(folder, tmp_path, labels):
    """With this rate and seed an epoch before the last one is best."""
    data = Data(encoded(10, 0, labels), {"validation": encoded(12, 1, labels)})
    encoder = load_encoder(folder, labels)
    state = train(
        encoder,
        data,
        recipe(labels=labels, epochs=8, learning_rate=0.03, seed=1),
        control(tmp_path),
    )
    metric = "accuracy" if labels == 2 else "spearman"
    history = [h[f"validation/{metric}"] for h in state.history]
    assert max(history) > history[-1]
    for epoch, expected in (("best", max(history)), ("last", history[-1])):
        table = state.tensors[f"examples/{epoch}/validation"]
        assert table.dtype == (torch.uint8 if labels == 2 else torch.float64)
        found = sums.value(metric, table.double().sum(0), 12)
        assert found == pytest.approx(expected, abs=1e-12)


def test_regression_trains_on_mean_squared_error(folder, tmp_path):
    data = Data(encoded(10, 0, labels=1), {"validation": encoded(12, 1, labels=1)})
    encoder = load_encoder(folder, 1)
    state = train(encoder, data, recipe(labels=1, epochs=5), control(tmp_path))
    losses = [h["train_loss"] for h in state.history]
    assert state.status == "ok" and losses[-1] < losses[0]
    assert all(-1 <= h["validation/spearman"] <= 1 for h in state.history)
