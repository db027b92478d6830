"""Packs: every run as if it were alone, flat logits as padded ones, one run's trouble its own."""

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import recipe

from beft.data.encoded import Encoded
from beft.engine.batches import collate
from beft.engine.dispatch import engine, groups, serves
from beft.engine.encoder import packed
from beft.engine.encoder.flat import flatten
from beft.engine.encoder.packed import Flattened
from beft.engine.encoder.padded import predict
from beft.engine.encoder.rowwise import computing
from beft.engine.noise import Noise
from beft.engine.shares import Share
from beft.models.encoder import load_encoder
from beft.training.loop import train
from beft.training.state import Control, Data

FLAT = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert"]
PADDED = ["deberta-v2", "deberta-v3", "mpnet", "modernbert", "modernbert-biases"]


def of_lengths(lengths: list[int], types: bool, seed: int = 0) -> Encoded:
    rng = np.random.default_rng(seed)
    ids = [rng.integers(5, 100, n).tolist() for n in lengths]
    kinds = [[int(i > n // 2) for i in range(n)] for n in lengths]
    return Encoded(ids, kinds if types else None, torch.tensor([n % 2 for n in lengths]))


def takes_types(encoder) -> bool:
    return "token_type_ids" in encoder.tokenizer.model_input_names


@pytest.mark.parametrize("architecture", FLAT)
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_flat_logits_equal_padded_ones(tmp_path, architecture, labels):
    """Lengths 1 to 128 in one row, against the untouched model on padded batches."""
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), labels)
    assert serves(encoder, "cpu")
    data = of_lengths(list(range(1, 129, 3)), takes_types(encoder))
    slots = Flattened(encoder, [recipe("b_v", labels)], [data], "cpu")
    expected = predict(encoder, data, "cpu", "float32")
    np.testing.assert_allclose(slots.predict(data, [0])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", PADDED)
def test_what_a_row_cannot_serve_is_noticed(tmp_path, architecture):
    """Their attention needs more than query, key and value, or the three are one linear."""
    assert not serves(load_encoder(tiny.checkpoint(architecture, tmp_path), 2), "cpu")


def test_a_row_serves_no_attention_that_sees_only_near_tokens(tmp_path):
    """A window of 512 tokens: the short texts that are tried would not tell."""
    folder = tiny.checkpoint("modernbert", tmp_path, local_attention=512)
    encoder = load_encoder(folder, 2)
    row = flatten([Share(0, of_lengths([3, 5], False), np.arange(2))], 0, "cpu")
    with computing(encoder, row, {}, {}), pytest.raises(TypeError, match="only those near them"):
        encoder.model.base_model(**row.inputs())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"))


MIXED = [
    recipe("b_v", seed=0),
    recipe("b_v", seed=1, learning_rate=3e-3),
    recipe("b_q", seed=0),
    recipe("all_biases", seed=2),
    recipe("head_only", seed=3, learning_rate=3e-2),
    recipe("b_intermediate", seed=0),
    recipe("b_v", seed=4, learning_rate=5e-2),
    recipe("b_output_norm", seed=1),
]


def run(folder, tmp_path, recipes, dropout=None, sizes=None):
    encoder = load_encoder(folder, 2, dropout=dropout)
    sizes = sizes or [20 + r.seed for r in recipes]
    data = [
        Data(encoded(n, 10 + r.seed), {"validation": encoded(12, 1)})
        for n, r in zip(sizes, recipes, strict=True)
    ]
    used = engine(encoder, recipes, [d.train for d in data], "cpu", flat=True)
    return train(used, data, Control(tmp_path / "c.safetensors"))


def assert_same(state, alone, exact=False):
    """Equal up to the rounding of sums in another order; key biases are rounding noise."""
    assert [h["epoch"] for h in state.history] == [h["epoch"] for h in alone.history]
    assert set(state.tensors) == set(alone.tensors)
    for name, tensor in alone.tensors.items():
        if name.startswith("predictions/"):
            assert torch.equal(state.tensors[name], tensor), name
        elif not name.endswith("/k"):
            torch.testing.assert_close(
                state.tensors[name], tensor, rtol=1e-5, atol=2e-6, msg=lambda m, n=name: f"{n} {m}"
            )


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_each_run_of_a_pack_equals_the_run_alone(folder, tmp_path, dropout):
    """Eight runs of other terms, rates, seeds and sizes (so: other numbers of steps); 50 steps."""
    recipes = [r for r in MIXED]
    for r in recipes:
        r.training["epochs"] = 9
    states = run(folder, tmp_path, recipes, dropout)
    for i, r in enumerate(recipes):
        alone = run(folder, tmp_path / str(i), [r], dropout)[0]
        assert_same(states[i], alone)


def test_with_dropout_the_pack_does_not_matter(folder, tmp_path):
    """One run alone, between others, and first of two: the same result up to rounding."""
    own = MIXED[3]
    alone = run(folder, tmp_path / "alone", [own], 0.1)[0]
    among = run(folder, tmp_path / "among", [MIXED[0], own, MIXED[4]], 0.1)[1]
    first = run(folder, tmp_path / "first", [own, MIXED[6]], 0.1)[0]
    assert_same(among, alone)
    assert_same(first, alone)


def test_dropout_is_really_on(folder, tmp_path):
    with_dropout = run(folder, tmp_path / "a", [MIXED[0]], 0.1)[0]
    without = run(folder, tmp_path / "b", [MIXED[0]], 0.0)[0]
    assert with_dropout.history[0]["train_loss"] != without.history[0]["train_loss"]


def test_dropout_factors_have_the_right_share_and_mean(folder):
    """Of n draws about p are 0 (5 sigma); the rest is 1 / (1 - p), so that the mean stays."""
    from beft.engine.noise import Noise, token_keys

    noise = Noise(torch.from_numpy(token_keys([0], [0], [200])), torch.tensor([0]))
    keep = noise.hidden(torch.Size([1, 200, 500]), 0.1)
    zeros = (keep == 0).float().mean().item()
    assert abs(zeros - 0.1) < 5 * (0.1 * 0.9 / 1e5) ** 0.5
    torch.testing.assert_close(keep[keep > 0].unique(), torch.tensor([1 / 0.9]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("architecture", FLAT)
def test_dropout_is_wherever_the_model_has_it(tmp_path, architecture, monkeypatch):
    """As many calls as the untouched model makes in training; attention once in each layer."""
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), 2, dropout=0.1)
    data = of_lengths([3, 5, 4, 6], takes_types(encoder))
    model, expected = encoder.model.train(), []
    hooks = [
        m.register_forward_hook(lambda *_: expected.append(1))
        for m in model.modules()
        if isinstance(m, torch.nn.Dropout)
    ]
    batch = collate(data, np.arange(4), 0, "cpu")
    del batch["labels"]
    model(**batch)
    for hook in hooks:
        hook.remove()
    calls = {"hidden": 0, "shares": 0}
    for name in calls:
        real = getattr(Noise, name)

        def counted(noise, *arguments, name=name, real=real):
            calls[name] += 1
            return real(noise, *arguments)

        monkeypatch.setattr(Noise, name, counted)
    monkeypatch.setattr(packed, "table_of", lambda encoder, dtype: None)
    slots = Flattened(encoder, [recipe("b_v", dropout=0.1)], [data], "cpu")
    slots.measured = True
    slots.step({0: np.arange(4)}, {0: 1})
    assert calls == {"hidden": len(expected), "shares": tiny.LAYERS}


@pytest.mark.parametrize("architecture", ["bert", "roberta", "xlm-roberta", "camembert", "electra"])
def test_behind_the_last_attention_only_first_tokens_are_computed(
    tmp_path, architecture, monkeypatch
):
    monkeypatch.setattr(packed, "table_of", lambda encoder, dtype: None)
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), 2)
    data, rows = of_lengths([3, 5, 4, 6], takes_types(encoder)), []
    for site in encoder.sites.of("intermediate"):
        module = encoder.model.get_submodule(site.module)
        module.register_forward_hook(lambda module, args, out: rows.append(out.shape[1]))
    Flattened(encoder, [recipe("b_v")], [data], "cpu").predict(data, [0])
    assert rows == [32, 4]  # 18 tokens, and copies of the last one up to a multiple of 16


def test_bfloat16_is_what_autocast_gives(folder):
    """The weights are cast once instead of in every pass: the same logits, and put back after."""
    encoder = load_encoder(folder, 2)
    data = of_lengths([3, 9, 20], True)
    before = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    slots = Flattened(encoder, [recipe("b_v", precision="bfloat16")], [data], "cpu")
    got = slots.predict(data, [0])[0]
    slots.close()
    for name, p in encoder.model.named_parameters():
        if name not in encoder.fresh:
            assert p.dtype == torch.float32 and torch.equal(p, before[name]), name
    expected = predict(encoder, data, "cpu", "bfloat16")
    assert not np.allclose(expected, predict(encoder, data, "cpu", "float32"), atol=1e-5)
    np.testing.assert_allclose(got, expected, rtol=0.05, atol=0.05)


def test_a_diverging_run_leaves_its_neighbours_alone(folder, tmp_path):
    """A rate of 1e38 overflows; its neighbours go on as if it were not there."""
    bad = recipe("b_v", seed=9, learning_rate=1e38)
    states = run(folder, tmp_path, [MIXED[0], bad, MIXED[3]])
    assert states[1].status == "diverged"
    for i, r in ((0, MIXED[0]), (2, MIXED[3])):
        assert_same(states[i], run(folder, tmp_path / str(i), [r])[0])


def test_runs_that_differ_in_more_than_rate_seed_and_technique_do_not_share(folder):
    a, b = recipe("b_v"), recipe("b_q", seed=8, learning_rate=1.0)
    other, weights = recipe("b_v", batch_size=2), recipe("full")
    found = groups([a, b, other, weights], True, "cpu")
    assert found == [[a, b], [other], [weights]]
    assert groups([a, b], False, "cpu") == [[a], [b]]


def fits(monkeypatch, tokens: int) -> None:
    """Memory for passes of so many tokens."""
    monkeypatch.setattr("beft.engine.memory.used_by", lambda device, work: 100)
    monkeypatch.setattr("beft.engine.slots.fitting_tokens", lambda *_: tokens)


@pytest.mark.parametrize("tokens", [120, 40, 9])
def test_a_split_by_memory_changes_no_result(folder, tmp_path, monkeypatch, tokens):
    """Passes of some runs, of one run, and of a part of one run's batch; dropout on."""
    whole = run(folder, tmp_path / "whole", MIXED[:4], 0.1)
    fits(monkeypatch, tokens)
    for state, expected in zip(run(folder, tmp_path / "split", MIXED[:4], 0.1), whole, strict=True):
        assert_same(state, expected)


@pytest.mark.parametrize("tokens", [120, 9])
def test_class_weights_do_not_depend_on_passes(folder, tokens):
    """Runs of other examples, so of other weights, in passes of some runs or of a few examples."""
    found = []
    for size in (10**6, tokens):
        encoder = load_encoder(folder, 2, dropout=0.1)
        data = [encoded(9, 10 + i).balanced() for i in range(3)]
        assert len({tuple(d.weights.unique().tolist()) for d in data}) > 1
        slots = Flattened(encoder, MIXED[:3], data, "cpu")
        slots.passes.tokens, slots.measured = size, True
        losses = slots.step(dict.fromkeys(range(3), np.arange(9)), {0: 1, 1: 2, 2: 3})
        found.append(([losses[i] for i in range(3)], slots.theta.clone()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-5, atol=2e-6)


def test_a_pass_that_does_not_fit_is_made_smaller(folder, tmp_path, monkeypatch, caplog):
    """The device refuses passes of more than 60 tokens: half as many are tried, and it is said."""
    whole = run(folder, tmp_path / "whole", MIXED[:4], 0.1)
    real = Flattened._gradient

    def gradient(slots, chunk, seeds):
        if sum(share.lengths().sum() for share in chunk) > 60:
            raise torch.OutOfMemoryError("out of memory")
        return real(slots, chunk, seeds)

    monkeypatch.setattr(Flattened, "_gradient", gradient)
    for state, expected in zip(run(folder, tmp_path / "split", MIXED[:4], 0.1), whole, strict=True):
        assert_same(state, expected)
    assert "did not fit" in caplog.text


def test_a_measured_split_is_logged(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("beft.engine.memory.used_by", lambda device, work: 100 * 2**20)
    monkeypatch.setattr("beft.engine.memory.free_bytes", lambda device: 2**30)
    run(folder, tmp_path, MIXED[:2])
    assert "per token measured, 1024 MB free" in caplog.text


def test_auto_precision_is_what_the_hardware_is_faster_in(folder, tmp_path, monkeypatch):
    """The same results as the precision that it stands for, on hardware with and without it."""
    for number, (capable, stands_for) in enumerate([
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bfloat16"),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, "bfloat16"),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, "float32"),
        ({"avx512_bf16": False}, "float32"),
    ]):  # fmt: skip
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capable: c)
        place = tmp_path / str(number)
        auto = run(folder, place / "auto", [recipe("b_v", precision="auto")])[0]
        named = run(folder, place / "named", [recipe("b_v", precision=stands_for)])[0]
        assert auto.history == named.history
