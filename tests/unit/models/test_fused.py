"""Rows of q, k and v in a fused projection, worked by hand and by each family's own splitting."""

import pytest
import torch
from support import tiny
from transformers import AutoModelForCausalLM

from beft.models.fused import Rows, fused_projection
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
