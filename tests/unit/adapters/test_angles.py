"""Angles between biases, by vectors whose angles are known."""

import math

import numpy as np
import pytest

from beft.adapters.angles import angles, between


def test_right_angles_opposites_and_multiples():
    one = {"v": np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])}
    other = {"v": np.array([[0.0, 3.0], [-1.0, 0.0], [4.0, 4.0]])}
    found = angles(one, other, ["v"])
    assert [layer["degrees"] for layer in found["layers"]] == [90.0, 180.0, 0.0]
    assert [layer["cosine"] for layer in found["layers"]] == [0.0, -1.0, 1.0]
    # as one vector: (0 - 2 + 8) / (sqrt(1 + 4 + 2) * sqrt(9 + 1 + 32))
    assert found["cosine"] == pytest.approx(6 / math.sqrt(7 * 42), abs=1e-9)
    assert found["degrees"] == pytest.approx(math.degrees(math.acos(6 / math.sqrt(294))), abs=1e-6)


def test_several_terms_are_one_vector_per_layer():
    """(1, 0 | 1) and (1, 0 | -1) are at right angles, although neither of their parts is."""
    one = {"q": [[1.0, 0.0]], "v": [[1.0]]}
    other = {"q": [[1.0, 0.0]], "v": [[-1.0]]}
    assert angles(one, other, ["q", "v"])["layers"] == [{"cosine": 0.0, "degrees": 90.0}]
    assert angles(one, other, ["q"])["degrees"] == 0.0


def test_a_zero_has_no_direction():
    found = angles({"v": [[0.0, 0.0], [1.0, 0.0]]}, {"v": [[1.0, 0.0], [1.0, 0.0]]}, ["v"])
    assert found["layers"][0] == {"cosine": None, "degrees": None}
    assert found["layers"][1]["degrees"] == 0.0
    assert found["cosine"] == pytest.approx(1 / math.sqrt(2), abs=1e-9)


def test_tuned_biases_share_what_was_pretrained_and_shifts_do_not():
    pre = {"v": [[10.0, 0.0]]}
    one, other = {"v": [[10.0, 1.0]]}, {"v": [[10.0, -1.0]]}
    found = between((pre, one), (pre, other), ["v"])
    assert found["shift"]["degrees"] == 180.0
    assert found["tuned"]["cosine"] == pytest.approx(99 / 101, abs=1e-9)


def test_a_vector_and_itself_are_at_no_angle():
    """Not at the ten millionths of a degree that the last bit of a cosine of 1 amounts to."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        own = {"v": rng.normal(size=(12, 768)).astype(np.float32)}
        assert angles(own, own, ["v"])["degrees"] == 0.0
