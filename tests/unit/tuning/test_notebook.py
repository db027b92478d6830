"""`beft.tune` in a notebook refuses what the command line cannot be given."""

import pandas as pd
import pytest

import beft
from beft.errors import UserError

ROWS = [{"text": f"text number {i}", "label": ("bad", "good")[i % 2]} for i in range(40)]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"test": 1.0}, "test 1.0: give a share between 0 and 1"),
        ({"test": float("nan")}, "test nan: give a share"),
        ({"test": 1}, "test: give a share between 0 and 1, or the path of a file, not int"),
        ({"test": pd.DataFrame(ROWS)}, "test: .* not DataFrame"),
        ({"seeds": 1}, "seeds 1: give 2 to 20"),
        ({"minutes": 0}, "minutes 0: give more than 0"),
        ({"minutes": float("inf")}, "minutes inf"),
        ({"workers": 0}, "workers 0: give at least 1"),
    ],
)
def test_arguments_that_no_call_can_be_made_of(given, problem):
    with pytest.raises(UserError, match=problem) as raised:
        beft.tune(ROWS, model="nowhere", **given)
    assert "\n" not in str(raised.value)
