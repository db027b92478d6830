"""Prompts that begin alike, against the same prompts computed from their start."""

import numpy as np
import pytest
import torch
from support import tiny
from support.recipes import prompted

import beft.engine.decoder.last
from beft.data.prompts import encode_prompts
from beft.engine.decoder import prefixes
from beft.engine.decoder.answer import answers
from beft.engine.decoder.single import SinglePrompted
from beft.models.decoder import load_decoder
from beft.tasks.words import Words

SCORED = {"precision": "float32", "scoring": "normalised"}
WRITTEN = {"precision": "float32", "max_new_tokens": 6}
VERDICT = (" terrible", " very great")
NAMED = [
    *("opt", "gpt2", "gpt_neox", "gptj", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"),
    *("phi", "phi3", "gpt_bigcode"),
]
SHOWN = [
    Words("", f"the {what} was {how} and the man likes it", " It was", VERDICT, (gold,))
    for what, how, gold in (("film", "very good", 1), ("plot", "dull", 0), ("story", "fine", 1))
]
ASKED = [
    Words("", f"{who} {does}", " It was", VERDICT, (0,))
    for who in ("the dog", "a woman who is not in the film", "this actor", "never a cat")
    for does in ("sleeps", "sees it with a man", "runs")
]


def behind_demonstrations(model):
    """Most prompts have room for all demonstrations, the longest for fewer."""
    data = encode_prompts(ASKED, model.tokenizer, 62, room=6, demonstrations=SHOWN)
    assert len(set(data.demonstrated)) > 1 and max(data.demonstrated) == 3
    return data


def reckoned(monkeypatch, model, data, settings, cache=None):
    """Answers from keys and values computed apart, from shared rows, and from none of these."""
    found, made = [], []
    real = prefixes.cached
    monkeypatch.setattr(
        "beft.engine.decoder.answer.cached", lambda *given: made.append(given) or real(*given)
    )
    for apart, own, least in ((0, 20, 8), (10**6, 60, 8), (10**6, 60, 10**6)):
        monkeypatch.setattr("beft.engine.decoder.answer.APART", apart)
        monkeypatch.setattr(prefixes, "OWN", own)
        monkeypatch.setattr(prefixes, "LEAST", least)
        made.clear()
        units = [u for p in prefixes.parts(data, 0, apart) for u in p.units]
        found.append(answers(model, data, settings, "cpu", cache=cache))
        assert bool(made) == (apart == 0)
        assert any(u.shared for u in units) == (apart > 0 and least < 10**6)
    return found


@pytest.mark.parametrize("architecture", NAMED)
def test_demonstrations_are_computed_once_with_the_same_answers(
    tmp_path, architecture, monkeypatch
):
    model = load_decoder(tiny.decoder_checkpoint(architecture, tmp_path))
    data = behind_demonstrations(model)
    apart, shared, whole = reckoned(monkeypatch, model, data, SCORED)
    np.testing.assert_allclose(apart, whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(shared, whole, rtol=0, atol=1e-5)
    apart, shared, whole = reckoned(monkeypatch, model, data, WRITTEN)
    np.testing.assert_array_equal(apart, whole)
    np.testing.assert_array_equal(shared, whole)
    for prompt, tokens in zip(data.prompts[::5], whole[::5], strict=True):
        ids = torch.tensor([prompt])
        own = model.model.generate(ids, do_sample=False, max_new_tokens=6)[0, len(prompt) :]
        written = [t for t in tokens.tolist() if t >= 0]
        assert own[: len(written)].tolist() == written


def test_a_trained_prefix_comes_before_a_shared_beginning(tmp_path, monkeypatch):
    model = load_decoder(tiny.decoder_checkpoint("llama", tmp_path))
    data = behind_demonstrations(model)
    made = SinglePrompted(model, [prompted("prefix", prefix_tokens=5)], [data], "cpu")
    with torch.no_grad():
        apart, shared, whole = reckoned(monkeypatch, model, data, SCORED, made.cache)
    np.testing.assert_allclose(apart, whole, rtol=0, atol=1e-5)
    np.testing.assert_allclose(shared, whole, rtol=0, atol=1e-5)
    made.close()
    without = answers(model, data, SCORED, "cpu")
    assert not np.allclose(without, whole, atol=1e-3)


@pytest.mark.parametrize("settings", [SCORED, WRITTEN])
@pytest.mark.parametrize("apart", [0, 10**6])
def test_a_refused_pass_behind_a_shared_beginning(tmp_path, settings, apart, monkeypatch):
    model = load_decoder(tiny.decoder_checkpoint("opt", tmp_path))
    data = behind_demonstrations(model)
    expected = answers(model, data, settings, "cpu")
    for name, value in {"OWN": 60, "LEAST": 8}.items():
        monkeypatch.setattr(prefixes, name, value)
    monkeypatch.setattr("beft.engine.decoder.answer.APART", apart)
    real, refused = model.model.forward, []

    def forward(**arguments):
        if arguments["input_ids"].numel() > 64:  # less than the family, more than any example
            refused.append(arguments["input_ids"].numel())
            raise torch.OutOfMemoryError("no")
        return real(**arguments)

    monkeypatch.setattr(model.model, "forward", forward)
    np.testing.assert_allclose(answers(model, data, settings, "cpu"), expected, rtol=0, atol=1e-5)
    assert refused


def test_prompts_divide_where_most_tokens_are_saved():
    first, second = list(range(100, 120)), list(range(200, 220))
    prompts = [
        [*first, 1],
        [*second, *second, 1],
        [*first, 2, 3],
        [*second, *second, 2],
        [*second, 7],
        [5],
        [*first, 2, 3],  # the same once more
        [*first, 2, 3, 4],
    ]
    found = {tuple(sorted(f.rows)): f.shared for f in prefixes.families(prompts)}
    # The three that begin with `second` have 20 tokens in common, two of them 40: equally many.
    assert found.pop((0, 2, 6, 7)) == 20 and found.pop((5,)) == 0
    assert found in ({(1, 3, 4): 20}, {(1, 3): 40, (4,): 0})
    assert sum(f.shared * (len(f.rows) - 1) for f in prefixes.families(prompts)) == 60 + 40
    # A prompt keeps a token of its own, and what is shorter than `LEAST` counts as nothing.
    assert [f.shared for f in prefixes.families([first, first])] == [19]
    assert [f.shared for f in prefixes.families([[1, 2], [1, 2, 3]])] == [0, 0]


def test_prompts_that_begin_alike_ever_longer():
    """Deeper nesting than Python's recursion allows."""
    prompts = [[7] * n for n in range(1, 1500)]
    (family,) = [f for f in prefixes.families(prompts) if f.shared]
    # The best beginning has half the longest prompts behind it.
    assert family.shared * (len(family.rows) - 1) == max(n * (1499 - n - 1) for n in range(1499))


@pytest.mark.parametrize("architecture", NAMED)
def test_the_last_layer_computes_what_is_read(tmp_path, architecture, monkeypatch):
    """Its inner layer sees as many tokens as are read, and the others see all."""
    model = load_decoder(tiny.decoder_checkpoint(architecture, tmp_path))
    data = encode_prompts(ASKED, model.tokenizer, 64)
    seen = []
    for layer in beft.engine.decoder.last._layers(model.model):
        inner = getattr(layer, "mlp", None) or layer.fc1
        inner.register_forward_hook(
            lambda module, args, out, layer=layer: seen.append(args[0].numel() // tiny.WIDTH)
        )
    answers(model, data, SCORED | {"scoring": "plain"}, "cpu")
    first, last = seen
    assert last < first / 3
