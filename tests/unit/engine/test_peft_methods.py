"""LoRA and prefixes: what they add, where they start, and that they leave nothing behind."""

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from support.recipes import prompted, recipe

from beft.data.order import order
from beft.engine.decoder.likelihood import candidate_scores
from beft.engine.decoder.rows import Item, arrange
from beft.engine.dispatch import engine
from beft.engine.peft_methods import adapt, added_numbers
from beft.errors import UserError
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder

LORA = {"lora_rank": 8, "lora_alpha": 16}


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize(("technique", "modules"), [("lora", 2), ("lora_q", 1), ("lora_k", 1)])
def test_lora_on_encoders_trains_its_matrices_and_the_head(
    tmp_path, architecture, technique, modules
):
    encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), 2, dropout=0.0)
    before = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
    data, made = encoded(12, 0), recipe(technique, **LORA)
    # A rank-8 matrix from 16 to 8 and one from 8 to 16, in each of two layers.
    assert added_numbers(encoder, made) == modules * tiny.LAYERS * 8 * (16 + 16)
    plain = engine(encoder, [recipe("untuned", epochs=0)], [data], "cpu", False)
    start = plain.predict(data, [0])[0]
    plain.close()
    run = engine(encoder, [made], [data], "cpu", True)
    np.testing.assert_allclose(run.predict(data, [0])[0], start, atol=1e-6)  # B starts at zero
    losses = [run.step({0: np.arange(12)}, {0: i})[0] for i in range(15)]
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in run.head(0).items())
    run.close()
    after = dict(encoder.model.named_parameters())
    assert list(after) == list(before)
    assert all(torch.equal(after[n], v) for n, v in before.items())


def test_the_seed_decides_where_lora_starts(tmp_path):
    encoder, found = load_encoder(tiny.checkpoint("bert", tmp_path), 2), []
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    for seed in (1, 1, 2):
        adapter = adapt(encoder, recipe("lora", seed=seed, **LORA))
        found.append(torch.cat([p.detach().flatten() for p in adapter.tuned.values()]))
        adapter.remove()
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_one_term_of_a_fused_projection_cannot_be_adapted(tmp_path):
    decoder = load_decoder(tiny.decoder_checkpoint("gpt2", tmp_path))
    with pytest.raises(UserError, match=r"lora_q: .*fused projection.*use 'lora'"):
        adapt(decoder, prompted("lora_q", **LORA))
    # The whole projection, from 16 to 48, in each of two layers.
    assert added_numbers(decoder, prompted("lora", **LORA)) == tiny.LAYERS * 8 * (16 + 48)


@pytest.mark.parametrize("architecture", ["opt", "llama", "gpt_neox"])
def test_a_prefix_starts_as_if_real_tokens_stood_there(tmp_path, architecture):
    """Its first keys and values are those of drawn tokens: the same scores as behind them."""
    decoder = load_decoder(tiny.decoder_checkpoint(architecture, tmp_path))
    made = prompted("prefix", prefix_tokens=5)
    special = set(decoder.tokenizer.all_special_ids)
    usable = [i for i in range(len(decoder.tokenizer)) if i not in special]
    drawn = [usable[i] for i in order(len(usable), "prefix", made.seed)[:5]]
    items = [Item(0, usable[3:9], [usable[:2], usable[5:8]]), Item(0, usable[20:23], [[7], [9]])]
    adapter = adapt(decoder, made)
    with torch.no_grad():
        found = candidate_scores(decoder.model, arrange(items, "cpu"), adapter.cache)
        behind = [Item(0, [*drawn, *item.prompt], item.candidates) for item in items]
        expected = candidate_scores(decoder.model, arrange(behind, "cpu"))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    adapter.remove()
    # Keys and values of five tokens in each of two layers.
    heads = getattr(decoder.model.config, "num_key_value_heads", None)
    width = 16 if heads is None else 16 // decoder.model.config.num_attention_heads * heads
    assert added_numbers(decoder, made) == 5 * tiny.LAYERS * 2 * width
