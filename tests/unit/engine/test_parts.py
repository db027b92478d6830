"""How many scalars a technique trains, and which ones."""

import math

import pytest
from support import tiny
from support.recipes import recipe

from beft.engine.parts import parts_of, shapes_of, trained_numbers
from beft.models.encoder import load_encoder
from beft.techniques import TECHNIQUES


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(tiny.checkpoint("bert", tmp_path_factory.mktemp("bert")), 2)


# Hand-counted for the tiny BERT: 2 layers, width 16, inner width 24. q, k, v, attention output,
# output and two norms have 16 each, the intermediate bias 24: 8 terms, 136 a layer.
@pytest.mark.parametrize(
    ("technique", "count"),
    [
        ("b_v", 2 * 16),
        ("b_q", 2 * 16),
        ("b_k", 2 * 16),
        ("b_intermediate", 2 * 24),
        ("all_biases", 2 * 136),
        ("random_uniform", 2 * 16),
        ("head_only", 0),
        ("linear_probe", 0),
        ("untuned", 0),
    ],
)
def test_number_of_trained_scalars(encoder, technique, count):
    trained, total = trained_numbers(encoder, parts_of(encoder, recipe(technique)))
    assert trained == count
    assert total == sum(math.prod(s) for s in shapes_of(encoder).values())


def test_full_trains_the_whole_encoder(encoder):
    trained, total = trained_numbers(encoder, parts_of(encoder, recipe("full")))
    outside = sum(encoder.model.get_parameter(n).numel() for n in encoder.head)
    assert trained == total == sum(p.numel() for p in encoder.model.parameters()) - outside


def test_random_uniform_is_uniform_and_follows_the_seed(encoder):
    """Over many seeds each parameter gets its share of the drawn scalars (5 sigma)."""
    shapes = shapes_of(encoder)
    total = sum(math.prod(s) for s in shapes.values())
    draws = 400
    counts = dict.fromkeys(shapes, 0)
    select = TECHNIQUES["random_uniform"].select
    for seed in range(draws):
        parts = select(shapes, encoder.sites, seed)
        assert sum(len(p.index) for p in parts) == 32
        for part in parts:
            assert len(set(part.index.tolist())) == len(part.index)
            assert part.index.max() < math.prod(shapes[part.parameter])
            counts[part.parameter] += len(part.index)
    for name, shape in shapes.items():
        share = math.prod(shape) / total
        expected = draws * 32 * share
        assert abs(counts[name] - expected) < 5 * math.sqrt(expected) + 1, name
    again, other = select(shapes, encoder.sites, 0), select(shapes, encoder.sites, 1)
    same = select(shapes, encoder.sites, 0)
    assert all((a.index == b.index).all() for a, b in zip(again, same, strict=True))
    assert [p.index.tolist() for p in again] != [p.index.tolist() for p in other]
