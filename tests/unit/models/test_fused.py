"""Rows of q, k and v in a fused projection, worked by hand and by each family's own splitting."""

import pytest
import torch
from support import tiny
from transformers import AutoModelForCausalLM

from beft.errors import UserError
from beft.models.fused import Rows, covers, fused_projection
from beft.models.sites import find_sites


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (Rows(3, 2), [3, 4]),
        (Rows(1, 2, step=4, count=3), [1, 2, 5, 6, 9, 10]),
        (Rows(0, 1, step=3, count=2), [0, 3]),
    ],
)
def test_runs_of_rows_become_an_index(rows, expected):
    index = rows.index()
    assert index.tolist() == expected and index.dtype == "int64"


# Two heads of width 2 in GPT-2 and GPT-NeoX; three heads of width 1 with one key; four with two.
@pytest.mark.parametrize(
    ("architecture", "changes", "q", "k", "v"),
    [
        (
            "gpt2",
            {"n_embd": 4},
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [8, 9, 10, 11],
        ),
        (
            "gpt_neox",
            {"hidden_size": 4},
            [0, 1, 6, 7],
            [2, 3, 8, 9],
            [4, 5, 10, 11],
        ),
        (
            "gpt_bigcode",
            {"n_embd": 3, "n_head": 3},
            [0, 1, 2],
            [3],
            [4],
        ),
        (
            "phi3",
            {"hidden_size": 4},
            [0, 1, 2, 3],
            [4, 5],
            [6, 7],
        ),
        (
            "falcon-grouped",
            {"hidden_size": 4},
            [0, 1, 4, 5],
            [2, 6],
            [3, 7],
        ),
    ],
)
def test_rows_worked_by_hand(architecture, changes, q, k, v):
    _, layout = fused_projection(tiny.decoder_config(architecture, **changes))
    assert {t: rows.index().tolist() for t, rows in layout.items()} == {"q": q, "k": k, "v": v}


@pytest.mark.parametrize(
    ("architecture", "forged"),
    [
        ("gpt2", {"head_dim": 3}),
        # twice as many rows of q, half as many of k and v: as many in all
        ("gpt2", {"head_dim": 12, "num_key_value_heads": 1}),
        ("gpt_neox", {"head_dim": 3}),
        ("bloom", {"head_dim": 3}),
        ("gpt_bigcode", {"head_dim": 3, "num_key_value_heads": 2}),
        ("mpt", {"head_dim": 3, "num_key_value_heads": 1}),
    ],
)
def test_settings_that_an_attention_does_not_read_move_no_row(architecture, forged):
    _, plain = fused_projection(tiny.decoder_config(architecture))
    settings = tiny.decoder_config(architecture)
    for key, value in forged.items():
        setattr(settings, key, value)
    assert fused_projection(settings) == (_, plain)


@pytest.mark.parametrize(
    ("architecture", "forged"),
    [("mpt", {"n_heads": 3}), ("mpt", {"n_heads": 5}), ("gpt_bigcode", {"multi_query": False})],
)
def test_rows_that_do_not_fill_the_projection_are_refused(architecture, forged):
    """The attention would fail, or read other rows than those that are tuned."""
    model = AutoModelForCausalLM.from_config(tiny.decoder_config(architecture))
    for key, value in forged.items():
        setattr(model.config, key, value)
    with pytest.raises(UserError, match=r"rows, which the heads and sizes in config.json do not"):
        find_sites(model)


@pytest.mark.parametrize(
    ("layout", "rows", "expected"),
    [
        ({"q": Rows(0, 2), "k": Rows(2, 2), "v": Rows(4, 2)}, 6, True),
        ({"q": Rows(0, 2), "k": Rows(2, 2), "v": Rows(4, 2)}, 7, False),
        ({"q": Rows(0, 2), "k": Rows(1, 2), "v": Rows(4, 2)}, 6, False),
        ({"q": Rows(0, 2), "k": Rows(2, 2), "v": Rows(4, 2)}, 5, False),
        ({"q": Rows(0, 1, 3, 2), "k": Rows(1, 1, 3, 2), "v": Rows(2, 1, 3, 2)}, 6, True),
    ],
)
def test_every_row_has_one_term(layout, rows, expected):
    assert covers(layout, rows) == expected


@pytest.mark.parametrize("architecture", ["opt", "llama", "gpt_neo"])
def test_three_linears_are_not_fused(architecture):
    assert fused_projection(tiny.decoder_config(architecture)) is None


@pytest.mark.parametrize("architecture", ["falcon", "falcon-one-key", "falcon-grouped", "bloom"])
def test_rows_are_those_that_the_attention_splits_off(architecture):
    """The modules' own splitting of a row that holds its own numbers."""
    model = AutoModelForCausalLM.from_config(tiny.decoder_config(architecture))
    attention = model.transformer.h[0].self_attention
    numbers = torch.arange(attention.query_key_value.weight.shape[0])[None, None]
    split = attention._reshape if architecture == "bloom" else attention._split_heads
    sites = find_sites(model)
    for term, states in zip("qkv", split(numbers), strict=True):
        # Heads that share a key show it several times.
        seen = list(dict.fromkeys(states.flatten().tolist()))
        assert sites.of(term)[0].rows.index().tolist() == seen
