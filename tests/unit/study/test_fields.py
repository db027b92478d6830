"""Kinds of values: hints for misspelt names."""

import pytest

from beft.study.fields import nearest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("b_w", "did you mean 'b_v'?"),
        ("trainig", "did you mean 'training'?"),
        ("zzz", "valid: b_v, training"),
    ],
)
def test_nearest_name(name, hint):
    assert nearest(name, ["training", "b_v"]) == hint
    assert nearest(name, []) == "none are defined"
